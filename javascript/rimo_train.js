"use strict";

/** What a page remembers of its own between two visits. */
class RimoTrainMemory {
    static KEY = "rimo-train";

    constructor() {
        try {
            this.values = JSON.parse(localStorage.getItem(RimoTrainMemory.KEY)) || {};
        } catch {
            this.values = {};
        }
    }

    get(name) {
        return this.values[name];
    }

    set(name, value) {
        this.values[name] = value;
        try {
            localStorage.setItem(RimoTrainMemory.KEY, JSON.stringify(this.values));
        } catch {
            // the browser keeps nothing: then the next visit starts afresh
        }
    }
}

/** The Train tab: pictures, recipe and the button on one side, trainings on the other. */
class RimoTrain {
    /** Milliseconds between looks at a training that runs, and at one that does not. */
    static QUICK = 1000;
    static SLOW = 4000;
    /** Milliseconds of quiet before the server is asked for another estimate. */
    static PATIENCE = 600;
    /** States of a training that has not ended. */
    static ACTIVE = ["waiting", "running"];

    /** Fill every container of the page. */
    static mountAll() {
        for (const root of gradioApp().querySelectorAll(".rimo-train")) {
            if (!root.hasChildNodes()) new RimoTrain(root);
        }
    }

    constructor(root) {
        this.root = root;
        this.server = new RimoServer(root.dataset.run);
        this.memory = new RimoTrainMemory();
        this.refusals = 0; // an estimate that was called for before one must not take it back
        this.states = new Map(); // job's id -> its last known state
        this.pictures = new RimoTrainPictures(this.server, this.memory, {
            onChange: () => this.#changed(),
            onSize: (size) => this.recipe.fill({resolution: size}),
            onMaking: () => this.#allowStart(),
            base: () => this.recipe.baseModel,
        });
        this.recipe = new RimoTrainRecipe(this.server, this.memory, () => this.#changed());
        this.job = new RimoTrainJob(this.server, (what, job) => this.#act(what, job));
        this.jobs = new RimoTrainJobs(this.memory, (id) => this.#choose(id), (id) => {
            this.#choose(id);
            this.#act("resume", {id});
        });
        this.tools = new RimoLoraTools(this.server);
        this.page = document.title;
        this.#build();
        this.#open();
    }

    #build() {
        const {make, say, button, card} = RimoPage;
        this.estimate = make("p", "rimo-hint", {role: "status"});
        this.advice = make("p", "rimo-problem rimo-warning", {hidden: true, role: "status"});
        this.keep = button("Keep the backgrounds", "Make the pictures with other backgrounds, and choose that recipe",
            () => this.#keepBackgrounds());
        this.keep.hidden = true;
        this.problem = make("p", "rimo-problem", {hidden: true, role: "alert"});
        this.anyway = button("Train on them as they are", "The made pictures stay as they were made",
            () => this.#train(true));
        this.anyway.hidden = true;
        this.install = button("Install the trainer's libraries",
            "Once; into a folder of the extension, the WebUI's own stay as they are",
            () => this.#install(), "rimo-primary");
        this.install.hidden = true;
        this.start = button("Train", "Start the training, or queue it behind the running one",
            () => this.#train(), "rimo-primary rimo-start");
        this.start.disabled = true; // until there are pictures and a base
        this.empty = make("section", "rimo-card rimo-empty-state", {},
            make("p", "", {textContent: say("Your trainings appear here. They go on when this page is closed, and when the WebUI is restarted.")}));
        this.root.append(make("div", "rimo-columns", {},
            make("div", "rimo-column", {},
                this.pictures.root, this.recipe.root,
                card("3. Train", this.estimate, this.advice, this.keep, this.problem, this.anyway, this.install, this.start)),
            make("div", "rimo-column", {}, this.empty, this.job.root, this.jobs.root, this.tools.root)));
    }

    async #open() {
        try {
            const opened = await this.server.ask("open");
            this.install.hidden = opened.is_ready;
            if (!opened.is_ready) this.#followInstallation();
            await this.recipe.build(opened);
            await this.pictures.restore(opened.sets, opened.interrogators);
            this.#showJobs(opened.jobs);
            this.#choose(this.memory.get("job") || opened.jobs[0]?.id || "");
        } catch (error) {
            this.#say(error);
        }
        this.#watch();
    }

    get #options() {
        return {
            ...this.recipe.options,
            train_data_dir: this.pictures.folder,
            trigger_word: this.pictures.triggerWord,
        };
    }

    #changed() {
        this.pictures.made.suggestSize(this.recipe.size);
        clearTimeout(this.pending);
        const {refusals} = this;
        this.pending = setTimeout(() => this.#estimate(refusals), RimoTrain.PATIENCE);
    }

    /** Estimate anew; `refusals` is how many there were when that was called for. */
    async #estimate(refusals = this.refusals) {
        this.#allowStart();
        if (!this.recipe.baseModel) {
            this.estimate.textContent = RimoPage.say("Choose a base model.");
            return;
        }
        try {
            const {messages, stale} = await this.server.ask("estimate", {options: this.#options});
            this.pictures.made.showStale(stale);
            const advice = messages.filter(({level}) => level !== "note");
            this.estimate.textContent = RimoPage.text(messages.filter(({level}) => level === "note"));
            this.advice.textContent = RimoPage.text(advice);
            this.advice.hidden = !advice.length || !this.pictures.folder;
            this.proposal = advice.find(({about}) => about === "other backgrounds");
            this.keep.hidden = this.advice.hidden || !this.proposal;
            if (refusals === this.refusals) this.#say();
            if (!this.pictures.folder) {
                this.estimate.textContent = RimoPage.say("Choose pictures first.");
            }
        } catch (error) {
            this.estimate.textContent = "";
            this.advice.hidden = this.keep.hidden = true;
            this.#say(error);
        }
    }

    /** Nothing can be trained without pictures and a base, nor while the pictures are being made. */
    #allowStart() {
        const {folder, isMaking} = this.pictures;
        this.start.disabled = !folder || !this.recipe.baseModel || isMaking;
    }

    /** Do what is proposed where few pictures are on plain grounds: `lib_rimo/training/proposal.py`. */
    async #keepBackgrounds() {
        const {recipe, scenes} = this.proposal.values;
        this.keep.disabled = true;
        this.recipe.choose(recipe.template);
        await this.pictures.makeWithScenes(scenes);
        this.keep.disabled = false;
    }

    async #install() {
        const {say} = RimoPage;
        this.install.disabled = true;
        this.install.textContent = say("Installing; this takes minutes …");
        const following = setInterval(() => this.#showInstallation(), 2000);
        try {
            this.install.hidden = (await this.server.askPatiently("install")).is_ready;
            this.#say();
        } catch (error) {
            this.#refuse(error);
        }
        clearInterval(following);
        this.install.disabled = false;
        this.install.textContent = say("Install the trainer's libraries");
    }

    /** Show how far an installation is; whether one goes on. */
    async #showInstallation() {
        const {is_ready, installing} = await this.server.ask("installing");
        this.install.hidden = is_ready;
        if (!installing) return false;
        this.install.disabled = true;
        this.install.textContent = RimoPage.say(
            "Installing: {megabytes} of about {expected} MB after {time} …",
            {...installing, time: RimoPage.duration(installing.seconds)});
        return true;
    }

    /** Follow the installation that the WebUI's start began. */
    async #followInstallation() {
        const {say} = RimoPage;
        while (await this.#showInstallation().catch(() => false)) {
            await new Promise((resolve) => setTimeout(resolve, 2000));
        }
        this.install.disabled = false;
        this.install.textContent = say("Install the trainer's libraries");
    }

    /** Say what is wrong, beside the button and at its field; nothing takes it back. */
    #say(error) {
        this.problem.textContent = error?.message || "";
        this.problem.hidden = !error;
        this.anyway.hidden = !error?.isStale;
        this.recipe.mark((error?.messages || []).map(({about}) => about));
    }

    /** Say why something that a button asked for was not done. */
    #refuse(error) {
        this.refusals += 1;
        this.#say(error);
    }

    /** `anyway`: although the made pictures would be made otherwise today. */
    async #train(anyway = false) {
        this.start.disabled = true;
        RimoTrain.#askToNotify();
        try {
            await this.pictures.saved();
            const {job, jobs} = await this.server.ask("train", {options: this.#options, anyway});
            this.#say();
            this.#choose(job);
            this.#showJobs(jobs);
            await this.job.look();
            this.job.root.scrollIntoView({behavior: "smooth", block: "nearest"});
        } catch (error) {
            this.#refuse(error);
        }
        this.#allowStart();
    }

    #choose(id) {
        this.job.choose(id);
        this.memory.set("job", id);
        this.#watch();
    }

    /** Keep looking while the tab can be seen; a running job's end is noticed in any case. */
    async #watch() {
        clearTimeout(this.next);
        let busy = [...this.states.values()].some((state) => RimoTrain.ACTIVE.includes(state));
        if (this.root.offsetParent !== null || busy) {
            try {
                const {jobs} = await this.server.ask("jobs");
                this.#showJobs(jobs);
                const known = jobs.some((job) => job.id === this.job.id);
                if (!known) this.job.choose(jobs[0]?.id || "");
                if (this.root.offsetParent !== null) await this.job.look();
                busy = jobs.some((job) => RimoTrain.ACTIVE.includes(job.state));
                this.root.classList.remove("rimo-offline");
            } catch {
                this.root.classList.add("rimo-offline"); // the WebUI restarts; the training goes on
            }
        }
        clearTimeout(this.next);
        this.next = setTimeout(() => this.#watch(), busy ? RimoTrain.QUICK : RimoTrain.SLOW);
    }

    #showJobs(jobs) {
        const {ACTIVE} = RimoTrain;
        for (const job of jobs) {
            // A tab that is out of sight looks seldom: it may never see a short job run.
            const before = this.states.get(job.id);
            const calledOff = before === "waiting" && job.state === "stopped";
            const ended = ACTIVE.includes(before) && !ACTIVE.includes(job.state);
            if (ended && !calledOff) this.#ended(job);
            this.states.set(job.id, job.state);
        }
        this.#showInTitle(jobs.find((job) => job.state === "running"));
        this.empty.hidden = jobs.length > 0;
        this.jobs.show(jobs, this.job.id);
    }

    /** How far the running training is, in the title of the browser's tab. */
    #showInTitle(job) {
        if (!job) {
            if (this.isInTitle) document.title = this.page;
            this.isInTitle = false;
            return;
        }
        if (!this.isInTitle) this.page = document.title;
        this.isInTitle = true;
        document.title = `${Math.floor(100 * job.step / Math.max(1, job.steps))} % ${job.name} · ${this.page}`;
    }

    /** To be called while a click is answered: browsers let pages ask at no other time. */
    static #askToNotify() {
        if (window.Notification?.permission === "default") Notification.requestPermission();
    }

    /** Tell of an ended training on the desktop; pages that are open at once tell together. */
    static #notify(job) {
        if (window.Notification?.permission !== "granted") return;
        const body = RimoPage.say("{name}: " + job.state, {name: job.name});
        try {
            const told = new Notification("Rimo", {body, tag: `rimo ${job.id} ${job.added}`});
            told.onclick = () => window.focus();
        } catch {
            // Android has the permission, but no notifications of pages
        }
    }

    #ended(job) {
        RimoTrain.#notify(job);
        this.jobs.ring();
        // The WebUI's LoRA pages show new files after their own refresh.
        for (const tab of ["txt2img", "img2img"]) {
            gradioApp().querySelector(`#${tab}_lora_extra_refresh`)?.click();
        }
        this.#estimate();
    }

    async #act(what, job) {
        const {say} = RimoPage;
        if (what === "resume") RimoTrain.#askToNotify();
        try {
            if (what === "try") {
                await RimoTry.go({...await this.server.ask("try", {job: job.id}), prompt: job.prompt});
            } else if (what === "compare") {
                await this.server.ask(what, {job: job.id});
            } else if (what === "edit") {
                await this.#take((await this.server.ask("settings", {job: job.id})).options);
            } else if (what === "more") {
                const {options} = await this.server.ask("settings", {job: job.id, more: 500});
                await this.#take(options);
            } else if (what === "csv" || what === "tensorboard") {
                RimoTrain.#save(await this.server.ask("curve", {job: job.id, as: what}));
            } else if (what === "forget") {
                const question = say("Remove {name} with its log, samples and saved steps? The LoRA in use stays.", {name: job.name});
                if (!window.confirm(question)) return;
                this.#showJobs((await this.server.ask(what, {job: job.id})).jobs);
            } else if (what === "resume") {
                this.#showJobs((await this.server.ask(what, {job: job.id})).jobs);
            } else {
                this.#showJobs((await this.server.ask("command", {job: job.id, command: what})).jobs);
            }
            this.#say();
            this.#watch();
        } catch (error) {
            this.#refuse(error);
        }
    }

    /** Fill in the options of a training that was, and the pictures that it was trained on. */
    async #take(options) {
        await this.recipe.take(options);
        await this.pictures.take(options.train_data_dir, options.trigger_word);
        this.recipe.root.scrollIntoView({behavior: "smooth", block: "start"});
    }

    /** Hand a file to the browser; `content` is in base64. */
    static #save({name, content}) {
        const link = RimoPage.make("a", "", {download: name, href: `data:application/octet-stream;base64,${content}`});
        link.click();
    }
}

onUiLoaded(() => RimoTrain.mountAll());
