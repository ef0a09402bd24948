"use strict";

/** Making LoRAs of those that there are: merged, of other ranks, under other names, their cards. */
class RimoLoraTools {
    constructor(server) {
        const {make, say, labelled, button} = RimoPage;
        this.server = server;
        this.lora = make("select", "rimo-lora");
        this.tags = make("textarea", "", {rows: 2, placeholder: "<lora:rimochan:0.8:MIDD> <lora:kimono:0.5>"});
        this.dim = make("input", "", {type: "number", min: 1, max: 512, placeholder: say("as it comes")});
        this.error = make("input", "", {type: "number", min: 0, max: 1, step: "any", placeholder: say("nothing")});
        [this.original, this.tuned] = [make("select", ""), make("select", "")];
        this.cover = make("input", "", {type: "file", accept: "image/*"});
        this.to = make("select", "", {}, ...["kohya", "peft", "comfyui"].map((style) =>
            make("option", "", {value: style, textContent: style})));
        [this.title, this.trigger, this.description, this.name] = ["", "", "", ""].map(() =>
            make("input", "", {type: "text"}));
        this.tool = make("select", "rimo-tool", {}, ...Object.entries({
            merge: "Make one of several",
            resize: "Give it another rank",
            extract: "Make one of what a checkpoint changed in its base model",
            convert: "Write it under another program's names",
            edit: "Change its title, trigger word, description and picture",
        }).map(([value, text]) => make("option", "", {value, textContent: say(text)})));
        this.fields = {
            lora: labelled("LoRA", this.lora),
            tags: labelled("Tags of the LoRAs to merge", this.tags, "Strengths and block weights are written in."),
            original: labelled("Base model", this.original),
            tuned: labelled("Model that was made of it", this.tuned),
            dim: labelled("Rank (dim)", this.dim),
            error: labelled("Share that may be lost", this.error, "Of each layer's change, such as 0.1; as many ranks as that takes."),
            to: labelled("Names of", this.to, "kohya: every WebUI; peft: PEFT and diffusers; comfyui: as ComfyUI saves them."),
            title: labelled("Title", this.title),
            trigger: labelled("Word that triggers the character", this.trigger),
            description: labelled("Description", this.description),
            cover: labelled("Picture", this.cover),
            name: labelled("Name of the new LoRA", this.name),
        };
        this.run = button("Make it", "Write the LoRA into the folder of LoRAs", () => this.#run(), "rimo-primary");
        this.done = make("p", "rimo-hint", {role: "status"});
        this.problem = make("p", "rimo-problem", {hidden: true, role: "alert"});
        this.tool.addEventListener("change", () => this.#show());
        this.root = make("details", "rimo-card rimo-lora-tools", {},
            make("summary", "", {textContent: say("LoRA tools")}),
            labelled("What to do", this.tool), ...Object.values(this.fields), this.run, this.done, this.problem);
        this.root.addEventListener("toggle", () => this.root.open && this.#list());
        this.#show();
    }

    /** Which fields each tool has. */
    static FIELDS = {
        merge: ["tags", "dim", "error", "name"],
        resize: ["lora", "dim", "error", "name"],
        extract: ["original", "tuned", "dim", "error", "name"],
        convert: ["lora", "to", "name"],
        edit: ["lora", "title", "trigger", "description", "cover"],
    };

    #show() {
        for (const [name, field] of Object.entries(this.fields)) {
            field.hidden = !RimoLoraTools.FIELDS[this.tool.value].includes(name);
        }
    }

    async #list() {
        try {
            const chosen = this.lora.value;
            const {loras} = await this.server.ask("loras");
            this.lora.replaceChildren(...loras.map((name) =>
                RimoPage.make("option", "", {value: name, textContent: name})));
            if (loras.includes(chosen)) this.lora.value = chosen;
            const {bases} = await this.server.ask("bases");
            for (const select of [this.original, this.tuned]) {
                const {value} = select;
                select.replaceChildren(...bases.map(({title, path}) =>
                    RimoPage.make("option", "", {value: path, textContent: title})));
                if (bases.some(({path}) => path === value)) select.value = value;
            }
        } catch (error) {
            this.#tell(error);
        }
    }

    async #run() {
        this.run.disabled = true;
        this.#tell();
        this.done.textContent = RimoPage.say("Working ...");
        const form = {tool: this.tool.value};
        for (const name of RimoLoraTools.FIELDS[form.tool]) form[name] = this[name].value.trim();
        try {
            if ("cover" in form) {
                const [file] = this.cover.files; // its value is no path that anybody could open
                form.cover = file ? await RimoPage.base64(file) : "";
            }
            const {name} = await this.server.askLong("tool", form, (text) => {
                this.done.textContent = text;
            });
            this.done.textContent = RimoPage.say("Done: <lora:{name}:1>", {name});
            await this.#list();
        } catch (error) {
            this.done.textContent = "";
            this.#tell(error);
        }
        this.run.disabled = false;
    }

    #tell(error) {
        this.problem.textContent = error?.message || "";
        this.problem.hidden = !error;
    }
}
