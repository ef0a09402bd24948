"use strict";

/** The base model: which ones there are, where more can come from, what the chosen one wants. */
class RimoTrainBase {
    static OTHER = "other";
    /** Milliseconds of quiet before a path that is being typed is looked at. */
    static PATIENCE = 500;

    /** `onChoose()` is called when another model was chosen and is known, or is known to be none. */
    constructor(server, onChoose) {
        this.server = server;
        this.onChoose = onChoose;
        this.facts = null; // what the server tells of the chosen model
        this.#build();
    }

    /** The chosen model's file; empty for none. */
    get path() {
        return this.select.value === RimoTrainBase.OTHER ? this.other.value.trim() : this.select.value;
    }

    /** The input that a fault of the model is shown at. */
    get input() {
        return this.select.value === RimoTrainBase.OTHER ? this.other : this.select;
    }

    #build() {
        const {make, say, labelled, button} = RimoPage;
        this.select = make("select", "", {name: "base"});
        this.select.addEventListener("input", () => this.#chosen());
        // Models that have been added since are there when the list is opened.
        for (const kind of ["pointerdown", "focus"]) {
            this.select.addEventListener(kind, () => this.#refresh());
        }
        this.other = make("input", "", {
            type: "text", spellcheck: false, placeholder: "/models/model.safetensors",
        });
        this.other.addEventListener("input", () => {
            clearTimeout(this.pending);
            this.pending = setTimeout(() => this.#chosen(), RimoTrainBase.PATIENCE);
        });
        this.field = labelled("Base model", this.select);
        this.otherField = labelled("File", this.other);
        this.hint = make("p", "rimo-hint rimo-base-hint", {hidden: true});
        this.demonstration = make("p", "rimo-warning", {
            hidden: true,
            textContent: say("This is a demonstration: it draws one small world and nothing else. For LoRAs that you can use, choose an SD1.5 or SDXL checkpoint of your own."),
        });
        this.folder = make("input", "rimo-path", {
            type: "text", spellcheck: false, name: "model_folder", placeholder: "/models",
            ariaLabel: say("Folder of your checkpoints"),
        });
        const add = () => this.#addFolder();
        this.folder.addEventListener("keydown", (event) => {
            if (event.key === "Enter") add();
        });
        this.where = make("p", "rimo-hint");
        this.told = make("p", "rimo-problem", {hidden: true, role: "alert"});
        this.places = make("details", "rimo-fold", {},
            make("summary", "", {textContent: say("Where are my checkpoints?")}),
            this.where,
            make("div", "rimo-bar", {}, this.folder,
                button("Use this folder too", "Its checkpoints are listed from now on", add)),
            this.told);
        this.parts = [this.field, this.otherField, this.hint, this.demonstration, this.places];
    }

    /** Show the models that there are; `path` is the one that was chosen before, if any. */
    async build({bases, model_folder: folder}, path) {
        this.where.textContent = RimoPage.say("Put .safetensors files into {folder}; they are listed at once. Or name a folder that has some:", {folder});
        this.#fill(bases);
        if (path) this.#set(path);
        this.places.open = bases.every((base) => base.is_demonstration);
        await this.#look();
    }

    /** Choose a model by its file. */
    async choose(path) {
        this.#set(path);
        await this.#look();
    }

    #fill(bases) {
        const {make, say} = RimoPage;
        const chosen = this.select.value;
        this.bases = bases;
        this.select.replaceChildren(
            ...bases.map(({title, path, is_demonstration: isDemonstration}) => make("option", "", {
                value: path,
                textContent: isDemonstration ? say("{name} (demonstration)", {name: title}) : title,
            })),
            make("option", "", {value: RimoTrainBase.OTHER, textContent: say("another file …")}));
        if ([...this.select.options].some(({value}) => value === chosen)) this.select.value = chosen;
    }

    #set(path) {
        const isListed = this.bases.some((base) => base.path === path);
        this.select.value = isListed ? path : RimoTrainBase.OTHER;
        if (!isListed) this.other.value = path;
    }

    async #refresh() {
        try {
            const {bases} = await this.server.ask("bases");
            const paths = (list) => list.map(({path}) => path).join("\n");
            if (paths(bases) !== paths(this.bases)) this.#fill(bases);
        } catch {
            // the list stays as it is
        }
    }

    async #addFolder() {
        this.told.hidden = true;
        try {
            const {bases, added} = await this.server.ask("add_base_folder", {folder: this.folder.value.trim()});
            this.#fill(bases);
            this.folder.value = "";
            this.#set(added);
            await this.#chosen();
        } catch (error) {
            this.told.textContent = error.message;
            this.told.hidden = false;
        }
    }

    async #chosen() {
        if (await this.#look()) this.onChoose();
    }

    /** Ask what the chosen model was made for; whether it is still the chosen one. */
    async #look() {
        const {say, text} = RimoPage;
        const {path} = this;
        this.otherField.hidden = this.select.value !== RimoTrainBase.OTHER;
        let facts = null;
        if (path) facts = await this.server.ask("base", {path}).catch(() => null); // told when it is estimated
        if (path !== this.path) return false;
        this.facts = facts;
        this.demonstration.hidden = !facts?.is_demonstration;
        this.hint.hidden = !facts;
        this.hint.textContent = facts ? `${text(facts.message)} ${this.#wanted()}`.trim() : "";
        return true;
    }

    #wanted() {
        const wanted = Object.entries(this.facts.options).map(([name, value]) => `${name} ${RimoPage.number(value)}`);
        return wanted.length ? RimoPage.say("For this model: {options}", {options: wanted.join(", ")}) : "";
    }
}
