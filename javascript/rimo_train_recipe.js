"use strict";

/** The second part of the Train tab: base model, name, and the options as declared. */
class RimoTrainRecipe {
    /** Always in sight; all others are folded away by group. */
    static IN_SIGHT = [
        "network_dim", "network_alpha", "train_batch_size", "max_train_steps", "optimizer_type",
        "unet_lr", "text_encoder_lr", "lr_scheduler", "resolution", "sample_every_n_steps",
    ];

    constructor(server, memory, onChange) {
        this.server = server;
        this.memory = memory;
        this.onChange = onChange;
        this.fields = new Map(); // option's name -> its input
        this.declared = new Map(); // option's name -> its declaration
        this.base = new RimoTrainBase(server, () => this.#suit());
        this.questions = new RimoTrainQuestions((options) => this.fill(options));
        this.root = RimoPage.card("2. Base model, name and recipe");
    }

    /** Build the fields from what the server declares. */
    async build(opened) {
        const {make, say, labelled, button} = RimoPage;
        const {options, groups, recipes, messages, reasons, questions} = opened;
        for (const option of options) this.declared.set(option.name, option);
        this.reasons = reasons;
        this.name = make("input", "", {
            type: "text", name: "output_name", value: "rimochan", spellcheck: false,
        });
        this.name.addEventListener("input", () => this.#changed());
        this.questions.build(questions);

        this.recipe = make("select", "", {title: say("Recipes"), ariaLabel: say("Recipes")});
        this.recipe.addEventListener("change", () => this.#follow(this.recipe.value));
        this.reason = make("p", "rimo-hint rimo-reason");
        this.recipeName = make("input", "rimo-short", {
            type: "text", placeholder: say("Name"), ariaLabel: say("Name of a new recipe"),
        });
        this.file = make("input", "", {type: "file", accept: ".toml,.json", hidden: true});
        this.file.addEventListener("change", () => this.#loadFile());
        this.note = make("p", "rimo-hint", {hidden: true, role: "status"});
        const bar = make("div", "rimo-bar", {},
            button("Load file …", "A job file: TOML or JSON with kohya's names", () => this.file.click()),
            this.recipeName,
            button("Save recipe", "Keep these options under the name", () => this.#saveRecipe()),
            this.file);

        const sight = make("div", "rimo-grid");
        for (const name of RimoTrainRecipe.IN_SIGHT) sight.append(this.#field(this.declared.get(name)));
        this.groups = Object.entries(groups).flatMap(([group, title]) => {
            const inside = options.filter((option) =>
                option.group === group && !RimoTrainRecipe.IN_SIGHT.includes(option.name));
            if (!inside.length) return [];
            return [make("details", "rimo-fold", {},
                make("summary", "", {textContent: say(title)}),
                make("div", "rimo-grid", {}, ...inside.map((option) => this.#field(option))))];
        });
        this.search = make("input", "", {
            type: "search", spellcheck: false, placeholder: say("Find an option …"),
            ariaLabel: say("Find an option …"),
        });
        this.search.addEventListener("input", () => this.#find(this.search.value));
        this.deep = make("details", "rimo-fold rimo-deep", {open: this.memory.get("deep") === true},
            make("summary", "", {textContent: say("All options, by kohya's names")}),
            this.search, sight, ...this.groups, bar);
        this.deep.addEventListener("toggle", () => this.memory.set("deep", this.deep.open));
        const [baseField, otherField, ...belowBase] = this.base.parts;
        this.root.append(
            make("div", "rimo-grid rimo-wide", {},
                baseField, otherField, labelled("Name", this.name, "As in <lora:NAME:1>")),
            ...belowBase,
            make("div", "rimo-grid rimo-wide", {}, labelled("Recipe", this.recipe)),
            this.reason, this.questions.root, this.deep, this.note);
        this.#fillRecipes(recipes);
        this.note.textContent = RimoPage.text(messages);
        this.note.hidden = !messages.length;
        // All is read first: filling in a field remembers what is in the others.
        const [last, base, name, recipe] = ["options", "base", "name", "recipe"].map((key) => this.memory.get(key));
        await this.base.build(opened, base);
        if (name) this.name.value = name;
        this.recipe.value = recipe in recipes ? recipe : this.base.facts?.recipe || this.recipe.value;
        this.#follow(this.recipe.value);
        if (last) this.fill(last);
    }

    /** Fill in a recipe; a built-in one as the base model wants it, and with the usual answers. */
    #follow(name) {
        this.fill({...this.#recipeOf(name), ...(this.#isBuiltIn(name) ? {...this.#usual(name), ...this.#wanted} : {})});
    }

    /** A recipe's options; those for any family as the base model's family wants them. */
    #recipeOf(name) {
        return {...this.recipes[name], ...this.base.facts?.for_any[name]};
    }

    /** Choose a recipe of the list. */
    choose(name) {
        this.recipe.value = name;
        this.#follow(name);
    }

    /** The questions' usual answers, but for what a recipe decides itself. */
    #usual(name) {
        const [author] = Object.values(this.recipes);
        const recipe = this.#recipeOf(name);
        return Object.fromEntries(Object.entries(this.questions.usual).filter(
            ([option]) => String(recipe[option]) === String(author[option])));
    }

    #isBuiltIn(name) {
        return Object.hasOwn(this.reasons, name);
    }

    get #wanted() {
        return this.base.facts?.options || {};
    }

    /** Another base model: put in what it wants, and what the one before wanted back. */
    #suit() {
        const {facts} = this.base;
        const {value: name} = this.recipe;
        if (facts && this.#isBuiltIn(name) && !(name in facts.for_any)) this.recipe.value = facts.recipe;
        const recipe = this.#recipeOf(this.recipe.value);
        const builtIn = Object.keys(this.reasons).map((name) => this.recipes[name]);
        const differ = Object.keys(recipe).filter((name) =>
            new Set(builtIn.map((options) => JSON.stringify(options[name]))).size > 1);
        const names = new Set([...differ, "resolution", ...this.base.bases.flatMap(({options}) => Object.keys(options))]);
        const usual = [...names].map((name) => [name, recipe[name] ?? this.declared.get(name).default]);
        this.fill({...Object.fromEntries(usual), ...this.#wanted});
    }

    /** Width,height that pictures are made at for the base model and these options. */
    get size() {
        return this.fields.get("resolution")?.value.trim() || this.base.facts?.standing || "";
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
        return this.base.path;
    }

    /** Take over everything of a training that was. */
    async take(options) {
        await this.base.choose(options.pretrained_model_name_or_path);
        this.name.value = options.output_name;
        this.fill(options);
    }

    /** Show the options whose name or help has all the words, and the groups that they are in. */
    #find(text) {
        const words = text.toLowerCase().split(/\s+/).filter(Boolean);
        for (const input of this.fields.values()) {
            const field = input.closest(".rimo-field");
            const said = field.textContent.toLowerCase();
            field.hidden = !words.every((word) => said.includes(word));
        }
        for (const group of this.groups) {
            const some = group.querySelector(".rimo-field:not([hidden])") !== null;
            group.hidden = !some;
            group.open = words.length > 0 && some;
        }
    }

    /** Put values into the fields; options that are not named keep theirs. */
    fill(values) {
        for (const [name, value] of Object.entries(values)) {
            const input = this.fields.get(name);
            if (!input) continue;
            if (input.type === "checkbox") input.checked = value === true;
            else input.value = RimoPage.number(value);
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
        if (!this.name) return [];
        return [...this.fields, ["output_name", this.name], ["pretrained_model_name_or_path", this.base.input]];
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

    #changed() {
        if (!this.recipe) return;
        const given = this.options;
        for (const [name, input] of this.fields) {
            const {default: usual} = this.declared.get(name);
            const changed = String(given[name]) !== (typeof usual === "boolean" ? String(usual) : RimoPage.number(usual));
            input.closest(".rimo-field").classList.toggle("rimo-changed", changed);
        }
        this.questions.show(given);
        this.reason.textContent = RimoPage.text(this.reasons[this.recipe.value] || []);
        this.memory.set("recipe", this.recipe.value);
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
            if (options.pretrained_model_name_or_path) await this.base.choose(options.pretrained_model_name_or_path);
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
