"use strict";

/** One training: how far it is, its curve, its samples, its log, and what can be asked of it. */
class RimoTrainJob {
    /** `onAct(what, job)` is asked to do what a button says. */
    constructor(server, onAct) {
        this.server = server;
        this.onAct = onAct;
        this.id = "";
        this.state = "";
        this.#build();
    }

    #build() {
        const {make, say, button} = RimoPage;
        const act = (what) => () => this.onAct(what, this.shown);
        this.title = make("h3", "rimo-job-title");
        this.use = make("div", "rimo-use", {hidden: true});
        this.badge = make("span", "rimo-badge");
        this.bar = make("div", "rimo-progress-fill");
        this.track = make("div", "rimo-progress", {role: "progressbar", ariaLabel: say("Progress")}, this.bar);
        this.track.setAttribute("aria-valuemin", "0");
        this.track.setAttribute("aria-valuemax", "100");
        this.track.tabIndex = 0; // so that who reads by ear can come back to it
        this.place = make("span", "rimo-place");
        this.doing = make("span", "rimo-doing", {role: "status"});
        this.left = make("span", "rimo-left");
        this.ending = make("p", "rimo-ending", {hidden: true, role: "status"});
        this.messages = make("div", "rimo-messages");
        this.served = make("p", "rimo-ending", {hidden: true});
        this.chart = new RimoTrainChart();
        this.samples = make("div", "rimo-samples");
        this.plotState = make("p", "rimo-hint", {hidden: true});
        this.plotImage = make("img", "rimo-comparison", {hidden: true, alt: say("Steps against strengths")});
        this.plotVersion = 0;
        this.search = new RimoSearch(({tag}) =>
            this.onAct("try", {...this.shown, prompt: this.shown.prompt.replace(/<lora:[^>]*>/, () => tag)}));
        this.log = make("pre", "rimo-log");
        this.buttons = {
            stop: button("Stop", "Save what was learned and stop; Resume goes on later", act("stop")),
            save: button("Save now", "Write the LoRA as it is", act("save")),
            sample: button("Sample now", "Draw a picture with the LoRA as it is", act("sample")),
            edit: button("Edit and retry", "Take this training's settings over, to change what was wrong", act("edit"), "rimo-primary"),
            resume: button("Resume", "Go on where it stopped", act("resume"), "rimo-primary"),
            try: button("Try it", "Put a prompt with this LoRA into txt2img", act("try"), "rimo-primary"),
            best: button("Find the best", "Search the saved step and strength that serve best", () => this.#findBest()),
            step: button("Try step {n}", "Put a prompt with the step that serves best into txt2img", () => this.#tryBest()),
            compare: button("Compare", "Draw the saved steps against strengths as a grid", act("compare")),
            more: button("Train 500 more", "A new training that begins with this LoRA", act("more")),
            take: button("Use its settings", "Fill in this training's options", act("edit")),
            csv: button("Loss as CSV", "Step, loss, smoothed loss and learning rate", act("csv")),
            tensorboard: button("TensorBoard file", "The same as an event file for TensorBoard", act("tensorboard")),
            forget: button("Remove", "Delete this job's files; its LoRA stays", act("forget")),
        };
        this.folded = make("details", "rimo-fold", {}, make("summary", "", {textContent: say("Log")}), this.log);
        this.root = make("section", "rimo-card rimo-job", {hidden: true},
            make("div", "rimo-bar rimo-job-head", {}, this.title, this.badge),
            this.track,
            make("div", "rimo-bar rimo-job-line", {}, this.place, this.doing, this.left),
            this.ending, this.use, this.served, this.messages,
            make("div", "rimo-bar", {}, ...Object.values(this.buttons)),
            this.chart.root, this.samples, this.search.root, this.plotState, this.plotImage, this.folded);
    }

    /** Show another job. */
    choose(id) {
        if (id === this.id) return;
        this.id = id;
        this.shown = null;
        this.root.hidden = true; // until it is known how the job stands
        this.chart.clear();
        this.search.close();
        this.drawn = new Map(); // sample's name -> its figure
        this.samples.replaceChildren();
        this.plotVersion = 0;
        this.plotImage.hidden = true;
    }

    /** Ask how the job stands and show it. */
    async look() {
        const {id} = this;
        if (!id) return null;
        const shown = await this.server.ask("watch", {job: id, after: this.chart.lastStep});
        if (id !== this.id) return null;
        if (shown.step < this.chart.lastStep) this.chart.clear(); // went back to a saved state
        this.shown = shown;
        this.#show(shown);
        return shown;
    }

    #show(job) {
        const {say, text, duration} = RimoPage;
        this.root.hidden = false;
        this.root.dataset.state = job.state;
        this.title.textContent = job.name;
        this.badge.textContent = say(job.state);
        const share = job.steps ? job.step / job.steps : 0;
        this.bar.style.width = `${100 * share}%`;
        this.track.setAttribute("aria-valuenow", String(Math.round(100 * share)));
        this.place.textContent = job.state === "running" && !job.step
            ? "" : say("step {step} of {steps}", job);
        this.#set(this.doing, this.#doing(job));
        this.left.textContent = [
            job.state === "running" && job.seconds_a_step
                ? say("{time} a step", {time: RimoTrainJob.#stepTime(job.seconds_a_step)}) : "",
            job.state === "running" && job.seconds_left !== null
                ? say("{time} left", {time: duration(job.seconds_left)}) : "",
        ].filter(Boolean).join(" · ");
        this.#set(this.ending, text(job.ending.messages));
        this.ending.hidden = !job.ending.messages.length;
        this.messages.replaceChildren(...job.messages.map((message) =>
            RimoPage.make("p", `rimo-message rimo-${message.level}`, {textContent: text(message)})));
        if (job.curve.length) this.chart.add(job.curve, job.steps);
        this.chart.mark(job.signals);
        const running = job.state === "running";
        const saved = job.saved.length > 0;
        const [step, why] = job.best ?? [0, null];
        this.served.textContent = why ? text(why) : "";
        this.served.hidden = !why;
        this.buttons.step.hidden = running || !why || step === job.step;
        this.buttons.step.textContent = say("Try step {n}", {n: step});
        this.buttons.stop.hidden = !running && job.state !== "waiting";
        this.buttons.save.hidden = this.buttons.sample.hidden = !running || !job.step;
        for (const name of ["stop", "save", "sample"]) {
            this.buttons[name].disabled = job.asked.includes(name); // until the training takes it
        }
        const ended = !running && job.state !== "waiting" && job.state !== "damaged";
        const hasFailed = job.state === "failed" || job.state === "died";
        this.buttons.resume.hidden = !job.can_resume;
        this.buttons.resume.classList.toggle("rimo-primary", !hasFailed);
        this.buttons.edit.hidden = !hasFailed;
        this.buttons.take.hidden = !ended || hasFailed;
        this.buttons.more.hidden = job.state !== "finished";
        this.buttons.csv.hidden = this.buttons.tensorboard.hidden = this.chart.points.length < 2;
        // On the way only files of single steps may have been saved, which no prompt finds.
        this.buttons.try.hidden = running
            || !job.saved.some(([, name]) => name === `${job.name}.safetensors`);
        this.buttons.best.hidden = this.buttons.compare.hidden = running || !saved || !job.can_compare;
        this.buttons.forget.hidden = running;
        this.#showUse(job);
        this.#showComparison(job.comparison);
        this.log.textContent = job.log.join("\n");
        for (const [step, name] of job.samples) if (!this.drawn.has(name)) this.#addSample(step, name);
    }

    /** Among the saved steps, with the sampler of the page. */
    #findBest() {
        const tab = gradioApp().querySelector("#txt2img_prompt") ? "txt2img" : "rimo";
        this.search.start({kind: "choose", job: this.id, ...RimoSearch.pageOf(tab)});
    }

    /** Have the host find the saved step that serves best, and go where pictures are made. */
    async #tryBest() {
        const {prompt} = await this.server.ask("try_step", {job: this.id, step: this.shown.best[0]});
        this.onAct("try", {...this.shown, prompt});
    }

    /** What a running training does just now: what was asked of it, or what it says itself. */
    #doing(job) {
        const {say} = RimoPage;
        if (job.state !== "running") return "";
        if (job.asked.includes("stop")) return say("stopping after this step …");
        if (job.asked.includes("sample") || job.phase === "sampling") return say("drawing a sample …");
        if (job.asked.includes("save")) return say("saving …");
        return job.step ? "" : say(job.phase || "starting");
    }

    /** Where a finished LoRA is, how it is used, what to try next. */
    #showUse(job) {
        const {make, say} = RimoPage;
        this.use.hidden = job.state !== "finished" || !job.published;
        if (this.use.hidden || this.use.dataset.file === job.published) return;
        this.use.dataset.file = job.published;
        this.use.replaceChildren(
            make("p", "", {textContent: say("The LoRA is {file}.", {file: job.published})}),
            make("p", "", {textContent: say("In a prompt: {prompt}", {prompt: job.prompt})}),
            make("p", "", {textContent: say("Is everything too much like your pictures, or too little? Compare shows the saved steps at several strengths; take the earliest that has the character.")}));
    }

    /** Change a text only where it is another, or screen readers would say it every second. */
    #set(element, text) {
        if (element.textContent !== text) element.textContent = text;
    }

    static #stepTime(seconds) {
        return RimoPage.say("{n} s", {n: seconds < 10 ? seconds.toFixed(2) : Math.round(seconds)});
    }

    async #showComparison({running, done, total, messages, version}) {
        const {say, text} = RimoPage;
        this.buttons.compare.disabled = running;
        this.plotState.hidden = !running && !messages.length;
        this.plotState.textContent = text(messages) || say("Drawing {done} of {total} …", {done: Math.min(done + 1, total), total});
        if (running || version === this.plotVersion) return;
        this.plotVersion = version;
        this.plotImage.src = (await this.server.ask("comparison", {job: this.id})).picture;
        this.plotImage.hidden = false;
    }

    async #addSample(step, name) {
        const {make, say} = RimoPage;
        const image = make("img", "", {alt: name});
        const caption = make("figcaption", "", {textContent: say("step {n}", {n: step})});
        const figure = make("figure", "", {}, image, caption);
        this.drawn.set(name, figure);
        this.samples.prepend(figure);
        try {
            const {picture} = await this.server.ask("sample", {job: this.id, name});
            image.src = picture;
        } catch (error) {
            caption.textContent = error.message;
        }
    }
}
