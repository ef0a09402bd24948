"use strict";

/** The second part of the Train tab: base model, name, and the options as declared. */
class RimoTrainRecipe {
    /** Always in sight; all others are folded away by group. */
    static IN_SIGHT = [
        "network_dim", "network_alpha", "train_batch_size", "max_train_steps", "optimizer_type",
        "unet_lr", "text_encoder_lr", "lr_scheduler", "resolution", "sample_every_n_steps",
    ];
    static OTHER_BASE = "other";

    constructor(server, memory, onChange) {
        this.server = server;
        this.memory = memory;
        this.onChange = onChange;
        this.fields = new Map(); // option's name -> its input
        this.declared = new Map(); // option's name -> its declaration
        this.root = RimoPage.card("2. Base model, name and recipe");
    }

    /** Build the fields from what the server declares. */
    build({options, groups, bases, recipes, builtIn, messages}) {
        this.builtIn = builtIn;
        const {make, say, labelled, button} = RimoPage;
        for (const option of options) this.declared.set(option.name, option);
        this.suited = new Map(bases.map((base) => [base.path, base.options]));

        this.base = make("select", "", {name: "base"}, ...bases.map(({title, path}) =>
            make("option", "", {value: path, textContent: title})),
        make("option", "", {value: RimoTrainRecipe.OTHER_BASE, textContent: say("another file …")}));
        this.otherBase = make("input", "", {
            type: "text", spellcheck: false, placeholder: "/models/model.safetensors",
        });
        this.name = make("input", "", {
            type: "text", name: "output_name", value: "rimochan", spellcheck: false,
        });
        for (const input of [this.otherBase, this.name]) {
            input.addEventListener("input", () => this.#changed());
        }
        this.base.addEventListener("input", () => this.#suit());
        this.fit = make("p", "rimo-hint", {hidden: true});

        this.recipe = make("select", "", {title: say("Recipes")});
        this.recipe.addEventListener("change", () => this.#follow(this.recipe.value));
        this.recipeName = make("input", "rimo-short", {type: "text", placeholder: say("Name")});
        this.file = make("input", "", {type: "file", accept: ".toml,.json", hidden: true});
        this.file.addEventListener("change", () => this.#loadFile());
        this.note = make("p", "rimo-hint", {hidden: true});
        const bar = make("div", "rimo-bar", {},
            this.recipe,
            button("Load file …", "A job file: TOML or JSON with kohya's names", () => this.file.click()),
            this.recipeName,
            button("Save recipe", "Keep these options under the name", () => this.#saveRecipe()),
            this.file);

        const sight = make("div", "rimo-grid");
        for (const name of RimoTrainRecipe.IN_SIGHT) sight.append(this.#field(this.declared.get(name)));
        const folded = Object.entries(groups).map(([group, title]) => {
            const inside = options.filter((option) =>
                option.group === group && !RimoTrainRecipe.IN_SIGHT.includes(option.name));
            if (!inside.length) return "";
            return make("details", "rimo-fold", {},
                make("summary", "", {textContent: say(title)}),
                make("div", "rimo-grid", {}, ...inside.map((option) => this.#field(option))));
        });
        this.root.append(
            make("div", "rimo-grid rimo-wide", {},
                labelled("Base model", this.base),
                labelled("File", this.otherBase),
                labelled("Name", this.name, "As in <lora:NAME:1>")),
            this.fit, bar, this.note, sight,
            make("details", "rimo-fold", {},
                make("summary", "", {textContent: say("All other options")}), ...folded));
        this.#fillRecipes(recipes);
        this.note.textContent = RimoPage.text(messages);
        this.note.hidden = !messages.length;
        // All is read first: filling in a field remembers what is in the others.
        const [last, base, name] = ["options", "base", "name"].map((key) => this.memory.get(key));
        if (base) this.#setBase(base);
        if (name) this.name.value = name;
        this.#follow(this.recipe.value);
        if (last) this.fill(last);
    }

    /** Fill in a recipe; a built-in one as the base model wants it. */
    #follow(name) {
        const isBuiltIn = this.builtIn.includes(name);
        this.fill({...this.recipes[name], ...(isBuiltIn ? this.#wanted : {})});
    }

    get #wanted() {
        return this.suited.get(this.base.value) || {};
    }

    /** Another base model: put in what it wants, and what the one before wanted back. */
    #suit() {
        const recipe = this.recipes[this.recipe.value];
        const names = new Set([...this.suited.values()].flatMap(Object.keys));
        const usual = [...names].map((name) => [name, recipe[name] ?? this.declared.get(name).default]);
        this.fill({...Object.fromEntries(usual), ...this.#wanted});
    }

    /** Everything filled in, as a job file has it. */
    get options() {
        const options = {
            pretrained_model_name_or_path: this.baseModel, output_name: this.name.value.trim(),
        };
        for (const [name, input] of this.fields) {
            options[name] = input.type === "checkbox" ? input.checked : input.value;
        }
        return options;
    }

    get baseModel() {
        const other = this.base.value === RimoTrainRecipe.OTHER_BASE;
        return other ? this.otherBase.value.trim() : this.base.value;
    }

    /** Put values into the fields; options that are not named keep theirs. */
    fill(values) {
        for (const [name, value] of Object.entries(values)) {
            const input = this.fields.get(name);
            if (!input) continue;
            if (input.type === "checkbox") input.checked = value === true;
            else input.value = RimoTrainRecipe.#text(value);
        }
        this.#changed();
    }

    /** Mark the fields of the options that errors speak of, and no other. */
    mark(names) {
        for (const [name, input] of this.#marked) {
            const isWrong = names.includes(name);
            input.closest(".rimo-field").classList.toggle("rimo-wrong", isWrong);
            let part = isWrong ? input.closest("details") : null;
            for (; part; part = part.parentElement.closest("details")) part.open = true;
        }
    }

    get #marked() {
        if (!this.base) return [];
        const base = this.base.value === RimoTrainRecipe.OTHER_BASE ? this.otherBase : this.base;
        return [...this.fields, ["output_name", this.name], ["pretrained_model_name_or_path", base]];
    }

    #field(option) {
        const {make, labelled} = RimoPage;
        let input;
        if (option.choices.length) {
            input = make("select", "", {}, ...option.choices.map((choice) =>
                make("option", "", {value: choice, textContent: choice})));
        } else if (option.type === "bool" && !option.optional) {
            input = make("input", "", {type: "checkbox"});
        } else {
            input = make("input", "", {type: "text", spellcheck: false});
            if (option.type === "int" || option.type === "float") input.inputMode = "decimal";
        }
        input.name = option.name;
        input.title = RimoTrainRecipe.#bounds(option);
        input.addEventListener("input", () => this.#changed());
        this.fields.set(option.name, input);
        const label = labelled(option.name, input, option.help);
        if (option.usual) {
            label.append(make("small", "", {textContent: RimoPage.say("usually {range}", {range: RimoPage.say(option.usual)})}));
        }
        return label;
    }

    static #bounds({minimum, maximum}) {
        if (minimum === null && maximum === null) return "";
        return `${minimum ?? "…"} – ${maximum ?? "…"}`;
    }

    static #text(value) {
        if (value === null || value === undefined) return "";
        if (Array.isArray(value)) return value.join(" ");
        // 5e-05 reads better than 0.00005
        if (typeof value === "number" && value !== 0 && Math.abs(value) < 1e-3) return value.toExponential();
        return String(value);
    }

    #setBase(path) {
        const known = [...this.base.options].some((option) => option.value === path);
        this.base.value = known ? path : RimoTrainRecipe.OTHER_BASE;
        if (!known) this.otherBase.value = path;
    }

    #changed() {
        if (!this.base) return;
        this.otherBase.parentElement.hidden = this.base.value !== RimoTrainRecipe.OTHER_BASE;
        const wanted = Object.entries(this.#wanted).map(([name, value]) => `${name} ${RimoTrainRecipe.#text(value)}`);
        this.fit.hidden = !wanted.length;
        this.fit.textContent = RimoPage.say("For this model: {options}", {options: wanted.join(", ")});
        const given = this.options;
        for (const [name, input] of this.fields) {
            const {default: usual} = this.declared.get(name);
            const changed = String(given[name]) !== (typeof usual === "boolean" ? String(usual) : RimoTrainRecipe.#text(usual));
            input.closest(".rimo-field").classList.toggle("rimo-changed", changed);
        }
        this.memory.set("options", given);
        this.memory.set("base", this.baseModel);
        this.memory.set("name", this.name.value);
        this.onChange();
    }

    #fillRecipes(recipes) {
        const {make, say} = RimoPage;
        this.recipes = recipes;
        this.recipe.replaceChildren(...Object.keys(recipes).map((name) =>
            make("option", "", {value: name, textContent: say(name)})));
    }

    async #saveRecipe() {
        await this.#tell(async () => {
            const name = this.recipeName.value.trim();
            const {recipes} = await this.server.ask("save_recipe", {name, options: this.options});
            this.#fillRecipes(recipes);
            this.recipe.value = name;
            return RimoPage.say("Saved.");
        });
    }

    async #loadFile() {
        const [file] = this.file.files;
        if (!file) return;
        await this.#tell(async () => {
            const {options, messages} = await this.server.ask("load_file",
                {name: file.name, content: await file.text()});
            this.fill(options);
            if (options.pretrained_model_name_or_path) this.#setBase(options.pretrained_model_name_or_path);
            if (options.output_name) this.name.value = options.output_name;
            this.#changed();
            return [RimoPage.say("Loaded {name}.", {name: file.name}), RimoPage.text(messages)].join(" ").trim();
        });
        this.file.value = "";
    }

    async #tell(action) {
        try {
            this.note.textContent = await action();
            this.note.classList.remove("rimo-problem");
        } catch (error) {
            this.note.textContent = error.message;
            this.note.classList.add("rimo-problem");
        }
        this.note.hidden = false;
    }
}
