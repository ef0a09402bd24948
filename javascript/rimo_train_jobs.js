"use strict";

/** All trainings: running, queued, unfinished, finished. */
class RimoTrainJobs {
    /** `onChoose(id)` is called when one is clicked, `onResume(id)` to go on with it. */
    constructor(memory, onChoose, onResume) {
        this.onChoose = onChoose;
        this.onResume = onResume;
        this.list = RimoPage.make("ul", "rimo-jobs");
        this.sound = RimoPage.make("input", "", {type: "checkbox", checked: memory.get("sound") === true});
        this.sound.addEventListener("change", () => {
            memory.set("sound", this.sound.checked);
            this.ring(); // to hear what it will be, and because browsers let pages sound after a click
        });
        this.root = RimoPage.card("Trainings", this.list, RimoPage.labelled("A sound when one ends", this.sound));
        this.root.hidden = true;
    }

    /** Two soft tones, if they are wanted. */
    ring() {
        if (!this.sound.checked || !window.AudioContext) return;
        this.audio ||= new AudioContext();
        for (const [index, frequency] of [660, 880].entries()) {
            const [tone, volume] = [this.audio.createOscillator(), this.audio.createGain()];
            const start = this.audio.currentTime + 0.18 * index;
            tone.frequency.value = frequency;
            volume.gain.setValueAtTime(0.15, start);
            volume.gain.exponentialRampToValueAtTime(0.001, start + 0.4);
            tone.connect(volume).connect(this.audio.destination);
            tone.start(start);
            tone.stop(start + 0.4);
        }
    }

    show(jobs, chosen) {
        this.root.hidden = jobs.length === 0;
        const told = JSON.stringify([jobs, chosen]);
        if (told === this.told) return; // or the row that has the focus would lose it every second
        this.told = told;
        const focused = [...this.list.children].findIndex((row) => row.contains(document.activeElement));
        this.list.replaceChildren(...jobs.map((job) => this.#row(job, job.id === chosen)));
        if (focused >= 0) this.list.children[focused]?.querySelector("button").focus();
    }

    #row(job, isChosen) {
        const {make, say, duration} = RimoPage;
        const share = job.steps ? 100 * job.step / job.steps : 0;
        const left = job.seconds_left ? ` · ${say("{time} left", {time: duration(job.seconds_left)})}` : "";
        const button = make("button", "rimo-job-row", {type: "button"},
            make("span", "rimo-job-name", {textContent: job.name}),
            make("span", "rimo-badge", {textContent: say(job.state)}),
            make("span", "rimo-hint", {textContent: `${job.step} / ${job.steps}${left}`}),
            make("span", "rimo-hint rimo-when", {textContent: new Date(job.added * 1000).toLocaleString()}));
        button.dataset.state = job.state;
        button.style.setProperty("--share", `${share}%`);
        button.classList.toggle("rimo-chosen", isChosen);
        button.addEventListener("click", () => this.onChoose(job.id));
        const row = make("li", "", {}, button);
        if (job.can_resume) {
            row.append(RimoPage.button("Resume", "Go on where it stopped", () => this.onResume(job.id)));
        }
        return row;
    }
}
