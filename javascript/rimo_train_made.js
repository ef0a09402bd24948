"use strict";

/** The pictures that were made of one's own: how many and how large, a look at them, what is stale. */
class RimoTrainMade {
    /**
     * `onMake()` is asked to make them, `onChange()` told when what would be trained on changed,
     * `onSize(text)` when they are wanted in another size.
     */
    constructor(server, viewer, {onMake, onChange, onSize}) {
        const {make, say, button, labelled} = RimoPage;
        this.server = server;
        this.onChange = onChange;
        this.many = make("select", "", {name: "how_many"},
            make("option", "", {value: "20", textContent: say("about five: train on twenty made of them")}),
            make("option", "", {value: "40", textContent: say("about ten: train on forty made of them")}),
            make("option", "", {value: RimoTrainMade.AS_THEY_ARE, textContent: say("twenty or more: train on them as they are")}),
            make("option", "", {value: "", textContent: say("as set below"), hidden: true}));
        this.many.addEventListener("change", () => this.#answer());
        this.count = make("input", "rimo-short", {type: "number", min: 1, max: 500, value: 20});
        this.count.addEventListener("input", () => this.show());
        this.sizeField = make("input", "rimo-short", {
            type: "text", name: "augment_size", value: "448,704", spellcheck: false,
        });
        this.sizeField.addEventListener("change", () => onSize(this.size));
        this.mirror = make("input", "", {type: "checkbox", checked: true});
        this.scenes = make("input", "rimo-short", {
            type: "number", min: 0, max: 100, value: 0,
            title: say("Places that the base model draws, with the character in front, named by half of the captions; 0: as your pictures have them"),
        });
        this.seed = make("input", "rimo-short", {type: "number", min: 0, value: 1});
        this.button = button("Make twenty", "Crops and mirror images of your pictures, to look at first",
            onMake, "rimo-primary");
        this.progress = make("p", "rimo-hint", {hidden: true, role: "status"});
        this.stop = button("Stop", "What is drawn stays: made again, it goes on",
            () => RimoPage.attempt(this.problem, () => server.stop(this.ticket)));
        this.stop.hidden = true;
        this.choice = make("select", "", {name: "trained_on", ariaLabel: say("Pictures to train on")},
            make("option", "", {value: "augmented", textContent: say("Train on the made pictures")}),
            make("option", "", {value: "originals", textContent: say("Train on your pictures as they are")}));
        this.choice.addEventListener("change", () => {
            this.show();
            onChange();
        });
        this.summary = make("p", "rimo-hint", {role: "status"});
        this.stale = make("p", "rimo-warning rimo-stale", {hidden: true, role: "status"});
        this.gallery = new RimoTrainGallery({
            label: "Made pictures",
            className: "rimo-small",
            onShow: (index) => viewer.open(() => this.made, index, {onRemove: (picture) => this.#remove(picture)}),
            onRemove: () => (picture) => this.#remove(picture),
        });
        this.problem = make("p", "rimo-problem", {hidden: true, role: "alert"});
        this.root = make("div", "rimo-augment", {},
            make("div", "rimo-grid rimo-wide", {},
                labelled("How many pictures are there?", this.many, "The recipe is for few pictures: crops and mirror images make up for others. With many, learn for longer.")),
            make("div", "rimo-bar rimo-fields", {},
                labelled("Pictures to make", this.count),
                labelled("Width,height", this.sizeField),
                labelled("Seed", this.seed),
                labelled("Mirror", this.mirror),
                labelled("Other backgrounds", this.scenes),
                this.button, this.stop),
            this.progress, this.problem, this.summary, this.stale, this.gallery.root,
            make("div", "rimo-bar", {}, this.choice));
        this.take(RimoTrainMade.NONE);
    }

    static NONE = {set: "", pictures: []};
    static AS_THEY_ARE = "originals";

    /** The set to train on; empty where one's own pictures are trained on. */
    get folder() {
        return this.isChosen && this.made.pictures.length ? this.made.set : "";
    }

    get isChosen() {
        return this.choice.value === "augmented";
    }

    get size() {
        return this.sizeField.value.trim();
    }

    /** Make pictures as large as the base model and the options want them. */
    suggestSize(size) {
        if (size) this.sizeField.value = size;
    }

    /** What the server has to know to make them. */
    get request() {
        return {
            count: this.count.value, seed: this.seed.value, resolution: this.size,
            mirror: this.mirror.checked, scenes: this.scenes.value,
        };
    }

    /** Have the subjects cut out and put into so many places. */
    useScenes(count) {
        this.scenes.value = count;
        if (!this.isChosen) this.choice.value = "augmented";
    }

    /** Show how far the making is: a text and the ticket it is stopped by; nothing once it is over. */
    showProgress(text = "", ticket = "") {
        this.ticket = ticket;
        this.progress.textContent = text;
        this.progress.hidden = !text;
        this.stop.hidden = !ticket;
    }

    /** Show a set that was made, or none. */
    take(made) {
        this.made = made;
        this.summary.textContent = RimoPage.text(made.messages || []);
        this.showStale([]);
        this.show();
    }

    /** Say why they would be made otherwise today; nothing, where they would not. */
    showStale(messages) {
        this.stale.textContent = RimoPage.text(messages);
        this.stale.hidden = !messages.length || !this.made.pictures.length;
        this.root.classList.toggle("rimo-outdated", !this.stale.hidden);
    }

    show() {
        this.#name();
        this.many.value = this.isChosen ? this.count.value : RimoTrainMade.AS_THEY_ARE;
        if (!this.many.value) this.many.value = ""; // a number of one's own
        this.choice.parentElement.hidden = !this.made.pictures.length;
        this.gallery.root.hidden = !this.made.pictures.length;
        this.gallery.show(this.made.pictures);
        this.gallery.root.classList.toggle("rimo-unused", !this.isChosen);
    }

    /** Take the answer to how many pictures there are over. */
    #answer() {
        const asTheyAre = this.many.value === RimoTrainMade.AS_THEY_ARE;
        this.choice.value = asTheyAre ? RimoTrainMade.AS_THEY_ARE : "augmented";
        if (!asTheyAre) this.count.value = this.many.value;
        this.show();
        this.onChange();
    }

    #name() {
        const {say} = RimoPage;
        this.button.textContent = this.count.value === "20" ? say("Make twenty") : say("Make them");
    }

    async #remove(picture) {
        await RimoPage.attempt(this.problem, async () => {
            const {messages} = this.made;
            this.made = {...await this.server.ask("discard", {set: this.made.set, name: picture.name}), messages};
            this.show();
            this.onChange();
        });
    }
}
