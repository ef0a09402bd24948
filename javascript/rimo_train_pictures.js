"use strict";

/** The first part of the Train tab: pictures and captions, and what is made of them. */
class RimoTrainPictures {
    /**
     * `onChange` is called when what would be trained on has changed, `onSize(text)` when pictures
     * are made of another size, `onMaking` when making them begins and ends; `base()` tells the
     * base model's file.
     */
    constructor(server, memory, {onChange, onSize, onMaking, base}) {
        this.server = server;
        this.memory = memory;
        this.onChange = onChange;
        this.onSize = onSize;
        this.onMaking = onMaking;
        this.base = base;
        this.originals = {set: "", pictures: [], own: true};
        this.interrogators = [];
        this.outbox = new RimoTrainOutbox(server, memory, {
            onSent: () => this.onChange(), // made pictures may be stale now
            onTrouble: (text) => RimoPage.complain(this.problem, text),
            onGone: (text) => {
                this.unsavedHint.textContent = text;
                this.unsavedHint.hidden = !text;
            },
        });
        this.masks = new RimoTrainMasks(server, memory, () => this.#show());
        this.viewer = new RimoTrainViewer(server, this.outbox, (picture) => this.#masked(picture));
        this.made = new RimoTrainMade(server, this.viewer, {
            onMake: () => this.#augment(), onChange: () => this.#changed(), onSize,
        });
        this.captions = new RimoTrainCaptions(this.outbox, (pictures, editor) => this.#captioned(pictures, editor));
        this.booru = new RimoBooruTags(server);
        const propose = (typed) => this.booru.propose(typed, this.tags.counts);
        this.tags = new RimoTrainTags(this.captions, {onFilter: () => this.#showGallery(), propose});
        this.editor = new RimoTrainCaptionEditor(this.captions, propose);
        this.#build();
    }

    /** The folder to train on. */
    get folder() {
        if (this.made.folder) return this.made.folder;
        return this.originals.pictures.length ? this.originals.set : "";
    }

    /** Whether the pictures to train on are being made. */
    get isMaking() {
        return this.made.button.disabled;
    }

    get triggerWord() {
        return this.trigger.value.trim();
    }

    #build() {
        const {make, say, button, labelled, card} = RimoPage;
        this.files = make("input", "", {
            type: "file", multiple: true, hidden: true, accept: "image/*,.txt,.caption",
        });
        this.files.addEventListener("change", () => this.#add([...this.files.files]));
        this.drop = make("div", "rimo-drop", {tabIndex: 0, role: "button"},
            make("strong", "", {textContent: say("Drop pictures here, or click to choose")}),
            make("small", "", {textContent: say("Five are enough. Captions (1.txt beside 1.png) may come along.")}));
        this.drop.addEventListener("click", () => this.files.click());
        this.drop.addEventListener("keydown", (event) => {
            if (event.key === "Enter" || event.key === " ") this.files.click();
        });
        for (const kind of ["dragover", "dragenter"]) {
            this.drop.addEventListener(kind, (event) => {
                event.preventDefault();
                this.drop.classList.add("rimo-over");
            });
        }
        this.drop.addEventListener("dragleave", () => this.drop.classList.remove("rimo-over"));
        this.drop.addEventListener("drop", (event) => {
            event.preventDefault();
            event.stopPropagation();
            this.drop.classList.remove("rimo-over");
            this.#add([...event.dataTransfer.files]);
        });

        this.path = make("input", "rimo-path", {
            type: "text", spellcheck: false, placeholder: say("or a folder on the machine that trains"),
            ariaLabel: say("Folder of pictures"),
        });
        const openFolder = () => this.#tell(() => this.open(this.path.value.trim()));
        this.path.addEventListener("keydown", (event) => {
            if (event.key === "Enter") openFolder();
        });
        this.known = make("select", "rimo-known", {
            title: say("Pictures dropped in earlier"), ariaLabel: say("Pictures dropped in earlier"),
        });
        this.known.addEventListener("change", () => {
            if (this.known.value) this.#tell(() => this.open(this.known.value));
        });

        this.trigger = make("input", "", {
            type: "text", name: "trigger_word", spellcheck: false,
        });
        this.trigger.addEventListener("input", () => {
            this.memory.set("trigger", this.triggerWord);
            this.onChange();
        });
        this.textMode = button("Edit as text", "Captions as tags or as plain text", () => {
            this.editor.asText = !this.editor.asText;
            this.textMode.textContent = say(this.editor.asText ? "Edit as tags" : "Edit as text");
            this.#show();
        });
        this.proposals = make("span", "rimo-bar");
        this.findMasks = button("Find masks", "Write a mask beside each picture that has none; detailed backgrounds need a model, which is fetched once if you agree",
            () => this.#findMasks());
        this.gallery = new RimoTrainGallery({
            label: "Your pictures",
            onShow: (index) => this.#showLarge(index),
            onTile: (picture, tile) => this.masks.decorate(this.originals.set, picture, tile),
            onRemove: () => this.originals.own && ((picture) => this.#tell(() => this.#remove(picture))),
        });
        this.problem = make("p", "rimo-problem", {hidden: true, role: "alert"});
        this.told = make("p", "rimo-hint", {hidden: true, role: "status"});
        this.unsavedHint = make("p", "rimo-problem rimo-unsaved", {hidden: true, role: "status"});

        this.words = make("div", "rimo-bar rimo-fields", {},
            labelled("Trigger word", this.trigger, "What will call the character in a prompt"),
            this.textMode, this.masks.button, this.findMasks, this.proposals);
        this.root = card("1. Pictures", this.drop, this.files,
            make("div", "rimo-bar", {}, this.path,
                button("Open", "Use the pictures of this folder", openFolder), this.known),
            this.problem, this.unsavedHint, this.words, this.told, this.tags.root, this.gallery.root, this.made.root,
            this.viewer.root);
        this.#show();
    }

    /** Show what the page had before, if it is still there. */
    async restore(sets, interrogators) {
        const {say} = RimoPage;
        this.interrogators = interrogators;
        this.booru.load();
        this.#fillKnown(sets);
        this.trigger.value = this.memory.get("trigger") || "";
        this.made.choice.value = this.memory.get("choice") || "augmented";
        for (const name of interrogators) {
            const button = RimoPage.button(say("Captions by {name}", {name}), "Propose captions for the pictures that have none",
                () => this.#interrogate(name, button));
            this.proposals.append(button);
        }
        // Read first: opening a set forgets what was made of the one before.
        const [last, made] = [this.memory.get("set"), this.memory.get("augmented")];
        if (last) {
            try {
                await this.open(last);
                if (made) this.made.take(await this.server.ask("pictures", {set: made}));
            } catch {
                // gone since: nothing to show
            }
        }
        this.#changed();
        this.outbox.send();
    }

    /** Show what a training was trained on: one's own pictures, or those that were made of them. */
    async take(folder, triggerWord) {
        this.trigger.value = triggerWord;
        this.memory.set("trigger", this.triggerWord);
        await this.#tell(async () => {
            const shown = await this.server.ask("pictures", {set: folder});
            if (shown.source) {
                await this.open(shown.source);
                this.made.take(shown);
                this.made.choice.value = "augmented";
            } else {
                await this.open(folder);
                this.made.choice.value = "originals";
            }
            this.#changed();
        });
    }

    #fillKnown(sets) {
        const {make, say} = RimoPage;
        this.known.replaceChildren(
            make("option", "", {value: "", textContent: say("earlier ones …")}),
            ...sets.map((set) => make("option", "", {
                value: set, textContent: set.split(/[\\/]/).pop(),
            })));
        this.known.hidden = sets.length === 0;
    }

    async open(set) {
        const shown = await this.server.ask("pictures", {set});
        if (set !== this.originals.set) this.tags.reset();
        this.originals = shown;
        this.made.take(RimoTrainMade.NONE);
        this.#changed();
        if (!this.originals.pictures.length) {
            throw new Error(RimoPage.say("There are no pictures in this folder."));
        }
    }

    async #add(files) {
        await this.#tell(async () => {
            if (!this.originals.set || !this.originals.own) {
                this.originals = {...await this.server.ask("new_set"), own: true};
            }
            const refused = [];
            for (const [index, file] of files.entries()) {
                this.drop.classList.add("rimo-busy");
                this.drop.dataset.state = `${index + 1} / ${files.length}`;
                const content = await RimoPage.base64(file);
                const reply = await this.server.ask("add", {
                    set: this.originals.set, files: [{name: file.name, content}],
                });
                refused.push(...reply.refused);
                this.originals = reply;
                this.#show();
            }
            this.#changed();
            if (refused.length) throw new Error(RimoPage.text(refused));
        });
        this.drop.classList.remove("rimo-busy");
        delete this.drop.dataset.state;
        this.files.value = "";
    }

    async #augment() {
        const {button, choice} = this.made;
        button.disabled = true;
        this.onMaking();
        button.textContent = RimoPage.say("Making …");
        await RimoPage.attempt(this.made.problem, async () => {
            await this.outbox.emptied();
            this.made.take(await this.server.askLong("augment", {
                ...this.made.request, set: this.originals.set, base: this.base(),
                name: this.triggerWord.replace(/[^\w-]+/g, "_"),
            }, (text, ticket) => this.made.showProgress(text, ticket)));
            choice.value = "augmented";
            this.onSize(this.made.size);
            this.#changed();
        });
        button.disabled = false;
        this.onMaking();
        this.made.showProgress();
        this.made.show();
    }

    /** Make the training pictures, cut out in front of so many places that the base model draws. */
    async makeWithScenes(count) {
        this.made.useScenes(count);
        this.made.root.scrollIntoView({behavior: "smooth", block: "center"});
        await this.#augment();
    }

    async #remove(picture) {
        this.originals = await this.server.ask("remove", {set: this.originals.set, name: picture.name});
        this.#changed();
    }

    #showLarge(index) {
        const {own} = this.originals;
        this.viewer.open(() => ({...this.originals, pictures: this.tags.pictures}), index, own ? {
            onRemove: (picture) => this.#remove(picture),
            onCrop: (reply) => {
                this.originals = reply;
                this.#changed();
            },
        } : {});
    }

    async #interrogate(name, button) {
        const {set} = this.originals;
        const asked = new Set();
        // Looked at anew each time: meanwhile captions are typed, pictures removed, sets changed.
        const bare = () => this.originals.pictures.filter((picture) => this.originals.set === set
            && !picture.caption && !picture.left_out && !asked.has(picture.name));
        button.disabled = true;
        await this.#tell(async () => {
            if (!bare().length) throw new Error(RimoPage.say("Every picture has a caption already: delete those that should be proposed anew."));
            for (let next; (next = bare()[0]?.name); asked.add(next)) {
                button.textContent = `${name} ${asked.size + 1} / ${asked.size + bare().length}`;
                const {caption} = await this.server.askWithModel("interrogate", {set, name: next, with: name}, () => {
                    button.textContent = RimoPage.say("Fetching …");
                });
                const picture = bare().find((one) => one.name === next);
                if (!picture) continue;
                this.captions.change(new Map([[next, caption]]),
                    RimoPage.say("the proposal for {name}", {name: next}));
            }
        });
        button.textContent = RimoPage.say("Captions by {name}", {name});
        button.disabled = false;
    }

    async #findMasks() {
        this.told.hidden = true;
        await this.#tell(async () => {
            this.told.textContent = RimoPage.text(await this.masks.find(this.originals.set, this.findMasks));
            this.told.hidden = false;
        });
    }

    /** Do something; what goes wrong is said above the pictures. */
    #tell(action) {
        return RimoPage.attempt(this.problem, action);
    }

    /** Captions are others now; what somebody types in an `editor` stays as it is. */
    #captioned(pictures, editor) {
        const {filter} = this.tags;
        this.tags.show();
        if (filter !== this.tags.filter) this.#showGallery();
        else if (!editor) for (const picture of pictures) this.gallery.update(picture);
    }

    /** A picture's mask is another now. */
    #masked(picture) {
        this.masks.forget(picture);
        this.gallery.update(picture);
    }

    /** Wait until the server has everything; throws where it does not answer. */
    saved() {
        return this.outbox.emptied();
    }

    #changed() {
        this.memory.set("set", this.originals.set);
        this.memory.set("augmented", this.made.made.set);
        this.memory.set("choice", this.made.choice.value);
        this.#show();
        this.onChange();
    }

    #show() {
        const some = this.originals.pictures.length > 0;
        this.captions.take(this.originals);
        for (const part of [this.words, this.tags.root, this.gallery.root, this.made.root]) part.hidden = !some;
        this.drop.classList.toggle("rimo-filled", some);
        this.proposals.hidden = !this.interrogators.length;
        this.tags.show();
        this.#showGallery();
        this.made.show();
    }

    #showGallery() {
        this.gallery.show(this.tags.pictures, (picture) => this.editor.make(picture));
    }
}
