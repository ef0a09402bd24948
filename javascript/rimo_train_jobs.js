"use strict";

/** All trainings: running, queued, unfinished, finished. */
class RimoTrainJobs {
    /** `onChoose(id)` is called when one is clicked, `onResume(id)` to go on with it. */
    constructor(onChoose, onResume) {
        this.onChoose = onChoose;
        this.onResume = onResume;
        this.list = RimoPage.make("ul", "rimo-jobs");
        this.root = RimoPage.card("Trainings", this.list);
        this.root.hidden = true;
    }

    show(jobs, chosen) {
        this.root.hidden = jobs.length === 0;
        this.list.replaceChildren(...jobs.map((job) => this.#row(job, job.id === chosen)));
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
