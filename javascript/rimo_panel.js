"use strict";

/** The block weights panel of a tab: the LoRAs of its prompt, and sliders for the chosen one. */
class RimoPanel {
    /** Milliseconds of quiet before the server is asked about a changed prompt. */
    static PATIENCE = 500;
    static FAMILY_LAYOUTS = {sd1: [17, 26], sd2: [17, 26], sdxl: [12, 20]};

    /** Fill every container of the page. */
    static mountAll() {
        for (const root of document.querySelectorAll(".rimo-panel")) {
            const textarea = document.querySelector(root.dataset.prompt);
            if (textarea && !root.hasChildNodes()) new RimoPanel(root, textarea);
        }
    }

    constructor(root, textarea) {
        this.root = root;
        this.prompt = new RimoPrompt(textarea);
        this.server = new RimoServer(root.dataset.run);
        this.presets = {};
        this.files = {};
        this.tags = [];
        this.chosen = 0;
        this.sliders = new Map();
        this.#build();
        this.prompt.watch(() => root.offsetParent !== null, () => this.#onPrompt());
    }

    get tag() {
        return this.tags[this.chosen];
    }

    #build() {
        const {button, make, say} = RimoPage;
        this.hint = make("p", "rimo-hint", {
            textContent: say("LoRAs of the prompt appear here, such as <lora:name:1>."),
        });
        this.loras = make("div", "rimo-loras");
        this.loras.setAttribute("role", "radiogroup");
        this.loras.setAttribute("aria-label", say("LoRAs of the prompt"));
        this.preset = make("select", "rimo-preset", {title: say("Preset of block weights")});
        this.preset.addEventListener("change", () => this.#write(this.preset.value || null));
        this.reset = button("Reset", "All blocks at full strength", () => this.#write(null));
        this.presetName = make("input", "rimo-preset-name rimo-text", {
            type: "text", placeholder: say("Name"), title: say("Name of a new preset"),
            spellcheck: false, autocomplete: "off",
        });
        this.presetName.addEventListener("keydown", (event) => {
            if (event.key === "Enter") this.#save();
        });
        this.save = button("Save preset", "Keep these block weights under the name",
            () => this.#save());
        this.findBlocks = button("Find blocks",
            "Search the block weights that keep most of the prompt while she stays herself",
            () => this.#find());
        this.search = new RimoSearch((result) => this.#use(result));
        const bar = make("div", "rimo-bar", {},
            this.preset, this.reset, this.presetName, this.save, this.findBlocks);
        this.problems = make("div", "rimo-problems");
        this.problems.setAttribute("role", "status");
        this.notes = make("div", "rimo-notes");
        this.unet = make("div", "rimo-unet");
        this.editor = make("div", "rimo-editor", {}, bar, this.search.root, this.unet);
        this.root.append(this.hint, this.loras, this.problems, this.editor, this.notes);
        this.#show();
    }

    #onPrompt() {
        const name = this.tag?.name;
        this.#read();
        if (this.tag?.name !== name) {
            this.chosen = Math.max(0, this.tags.findIndex((tag) => tag.name === name));
        }
        this.#show();
        clearTimeout(this.waiting);
        const isFirst = Object.keys(this.presets).length === 0;
        this.waiting = setTimeout(() => this.#ask(), isFirst ? 0 : RimoPanel.PATIENCE);
    }

    #read() {
        this.tags = RimoLoraTag.findAll(this.prompt.text, this.presets);
    }

    #ask() {
        const prompt = this.prompt.text;
        return this.#take(this.server.ask("read", {prompt}), prompt);
    }

    async #save() {
        const weights = this.#weights();
        const prompt = this.prompt.text;
        const name = this.presetName.value.trim();
        if (!weights || !name) return this.presetName.focus();
        const saved = await this.#take(this.server.ask("read", {prompt, save: [name, weights.write()]}), prompt);
        if (saved && Object.hasOwn(this.presets, name)) this.presetName.value = "";
        return undefined;
    }

    /** Search the chosen LoRA's block weights with what stands in the page. */
    #find() {
        const tab = /^#(\w+?)_prompt\b/.exec(this.root.dataset.prompt)?.[1] ?? "txt2img";
        this.searched = this.tag.name;
        this.search.start({
            kind: "blocks", lora: this.tag.name, strength: this.tag.unet, prompt: this.prompt.text,
            ...RimoSearch.pageOf(tab),
        });
    }

    /** Put what a search found into the tag that was searched, if that is still there. */
    #use(result) {
        const index = this.tags.findIndex((tag) => tag.name === this.searched);
        if (index < 0) return;
        this.chosen = index;
        this.#write(result.blocks || null);
    }

    /** Show an answer of the server, unless the prompt has changed since. */
    async #take(promise, prompt) {
        let answer;
        try {
            answer = await promise;
        } catch (error) {
            for (const tag of this.tags) this.files[tag.name] ??= null;
            this.#show();
            const text = RimoPage.say("The WebUI does not answer; presets and file facts are unknown.");
            RimoPanel.#list(this.problems, [text]);
            return false;
        }
        this.presets = answer.presets;
        Object.assign(this.files, answer.files);
        if (this.prompt.text === prompt) {
            const [notes, problems] = [[], []];
            for (const message of answer.messages) {
                (message.level === "note" ? notes : problems).push(RimoPage.text(message));
            }
            RimoPanel.#list(this.problems, problems);
            RimoPanel.#list(this.notes, notes);
        }
        this.#read();
        this.#show();
        return true;
    }

    static #list(list, lines) {
        list.replaceChildren(...lines.map((line) =>
            RimoPage.make("div", "", {textContent: line})));
    }

    /** The block weights that the sliders show; null for a tag that cannot be read. */
    #weights() {
        if (!this.tag) return null;
        if (this.tag.blocksText !== null) return this.tag.blocks;
        return RimoBlockWeights.plain(this.#layout());
    }

    /** The layout of the sliders: the file's, or the tag's where that has more blocks. */
    #layout() {
        const file = this.files[this.tag.name];
        const written = this.tag.blocks?.layout ?? null;
        if (!file) return written ?? 26;
        const whole = RimoPanel.FAMILY_LAYOUTS[file.family][1];
        return written === whole ? whole : file.layout;
    }

    /** Put block values (null for none) into the chosen tag. */
    #write(text) {
        this.prompt.text = this.tag.editIn(this.prompt.text, text);
    }

    #onSlider(block, value) {
        const weights = this.#weights();
        if (!weights) return;
        const changed = weights.with(block, value);
        if (weights.layout === null) {
            this.#write(changed.write());
        } else {
            const layout = this.#layout();
            const whole = layout === 12 || layout === 20 ? 20 : 26;
            this.#write(changed.within(whole).write(layout));
        }
    }

    #show() {
        this.hint.hidden = this.tags.length > 0;
        this.editor.hidden = !this.tag;
        this.#showLoras();
        if (!this.tag) return;
        const weights = this.#weights();
        const file = this.files[this.tag.name]; // undefined until the server has answered
        this.unet.hidden = !weights || file === undefined;
        this.#showPresets(weights);
        if (this.unet.hidden) return;
        this.#arrange(this.#layout());
        for (const [block, slider] of this.sliders) {
            slider.show(weights.values[block], file?.blocks.includes(block) ?? true);
        }
    }

    #showLoras() {
        const texts = this.tags.map((tag) => `${tag.name}\n${RimoPanel.#strengthOf(tag)}`);
        if (this.loraTexts !== texts.join("\n\n")) {
            this.loraTexts = texts.join("\n\n");
            const hadFocus = this.loras.contains(document.activeElement);
            this.loras.replaceChildren(...this.tags.map((tag, index) => this.#lora(tag, index)));
            if (hadFocus) this.loras.querySelectorAll("input")[this.chosen]?.focus();
        }
        const radio = this.loras.querySelectorAll("input")[this.chosen];
        if (radio) radio.checked = true;
    }

    #lora(tag, index) {
        const {make} = RimoPage;
        const radio = make("input", "", {type: "radio", name: this.root.dataset.prompt});
        radio.addEventListener("change", () => {
            this.chosen = index;
            this.#show();
        });
        return make("label", "rimo-lora", {}, radio,
            make("span", "", {textContent: tag.name}),
            make("small", "", {textContent: RimoPanel.#strengthOf(tag)}));
    }

    static #strengthOf(tag) {
        return tag.te === tag.unet ? String(tag.te) : `${tag.te}:${tag.unet}`;
    }

    #showPresets(weights) {
        const names = Object.keys(this.presets);
        if (this.presetNames !== names.join("\n")) {
            this.presetNames = names.join("\n");
            const none = new Option(RimoPage.say("(own values)"), "");
            this.preset.replaceChildren(none, ...names.map((name) => new Option(name, name)));
        }
        const text = this.tag.blocksText?.trim() ?? null;
        this.preset.value = Object.hasOwn(this.presets, text ?? "") ? text : weights && text !== null
            ? names.find((name) =>
                RimoBlockWeights.parse(this.presets[name])?.equals(weights)) ?? "" : "";
        this.reset.disabled = text === null;
        this.findBlocks.hidden = !RimoSearch.url || typeof this.tag.unet !== "number";
    }

    /** Lay the sliders out as the UNet is: a row holds two blocks that a skip connection joins. */
    #arrange(layout) {
        if (this.arranged === layout) return;
        this.arranged = layout;
        this.sliders.clear();
        const blocks = RimoBlockWeights.LAYOUTS[layout];
        const depth = layout === 12 || layout === 20 ? 9 : 12;
        this.unet.replaceChildren();
        this.unet.append(this.#slider("BASE", "rimo-base"));
        for (let row = 0; row < depth; row++) {
            const pair = [RimoBlockWeights.IN[row], RimoBlockWeights.OUT[depth - 1 - row]];
            if (!pair.some((block) => blocks.includes(block))) continue;
            // Three rows share a resolution.
            const place = row > 0 && row % 3 === 0 ? "rimo-level" : "rimo-row";
            this.unet.append(...pair.map((block) => blocks.includes(block)
                ? this.#slider(block, place) : RimoPage.make("div", place)));
        }
        this.unet.append(this.#slider("M00", "rimo-mid"));
    }

    #slider(block, place) {
        const slider = new RimoSlider(block, RimoPage.say(RimoPanel.#titleOf(block)),
            (name, value) => this.#onSlider(name, value));
        slider.element.classList.add(place);
        this.sliders.set(block, slider);
        return slider.element;
    }

    static #titleOf(block) {
        if (block === "BASE") return "Text encoder";
        if (block === "M00") return "Middle of the UNet";
        return block.startsWith("IN") ? "UNet, on the way down" : "UNet, on the way up";
    }
}

// Newer Gradios make an accordion's content when it is first opened.
if (typeof onAfterUiUpdate === "function") {
    onAfterUiUpdate(RimoPanel.mountAll);
} else {
    const observer = new MutationObserver(RimoPanel.mountAll);
    observer.observe(document, {childList: true, subtree: true});
}
