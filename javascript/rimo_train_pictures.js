"use strict";

/** The first part of the Train tab: pictures and captions, and what is made of them. */
class RimoTrainPictures {
    /** Milliseconds until captions are sent again to a server that did not answer. */
    static AGAIN = 2000;

    /**
     * `onChange` is called when what would be trained on has changed, `onSize(text)` when pictures
     * are made of another size; `base()` tells the base model's file.
     */
    constructor(server, memory, {onChange, onSize, base}) {
        this.server = server;
        this.memory = memory;
        this.onChange = onChange;
        this.onSize = onSize;
        this.base = base;
        this.viewer = new RimoTrainViewer(server);
        this.made = new RimoTrainMade(server, this.viewer, {
            onMake: () => this.#augment(), onChange: () => this.#changed(), onSize,
        });
        this.originals = {set: "", pictures: [], own: true};
        this.asText = false;
        this.interrogators = [];
        /** Captions that the server does not have yet, by their pictures; the browser keeps them. */
        this.unsaved = new Map(memory.get("unsaved") || []);
        this.#build();
    }

    /** The folder to train on. */
    get folder() {
        if (this.made.folder) return this.made.folder;
        return this.originals.pictures.length ? this.originals.set : "";
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
            type: "text", spellcheck: false, placeholder: say("or a folder on the WebUI's machine"),
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
            this.asText = !this.asText;
            this.textMode.textContent = say(this.asText ? "Edit as tags" : "Edit as text");
            this.#show();
        });
        this.proposals = make("span", "rimo-bar");
        this.gallery = new RimoTrainGallery({
            label: "Your pictures",
            onShow: (index) => this.#showLarge(index),
            onRemove: () => this.originals.own && ((picture) => this.#tell(() => this.#remove(picture))),
        });
        this.problem = make("p", "rimo-problem", {hidden: true, role: "alert"});
        this.unsavedHint = make("p", "rimo-problem rimo-unsaved", {hidden: true, role: "status"});

        this.captions = make("div", "rimo-bar rimo-fields", {},
            labelled("Trigger word", this.trigger, "What will call the character in a prompt"),
            this.textMode, this.proposals);
        this.root = card("1. Pictures", this.drop, this.files,
            make("div", "rimo-bar", {}, this.path,
                button("Open", "Use the pictures of this folder", openFolder), this.known),
            this.problem, this.unsavedHint, this.captions, this.gallery.root, this.made.root,
            this.viewer.root);
        this.#show();
    }

    /** Show what the page had before, if it is still there. */
    async restore(sets, interrogators) {
        this.interrogators = interrogators;
        this.#fillKnown(sets);
        this.trigger.value = this.memory.get("trigger") || "";
        this.made.choice.value = this.memory.get("choice") || "augmented";
        for (const name of interrogators) {
            const button = RimoPage.button(name, "Let the WebUI propose captions for pictures without one",
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
        this.#send();
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
        this.originals = await this.server.ask("pictures", {set});
        for (const picture of this.originals.pictures) {
            picture.caption = this.unsaved.get(this.#key(picture))?.caption ?? picture.caption;
        }
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
                const content = await RimoTrainPictures.#base64(file);
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

    static #base64(file) {
        return new Promise((resolve, reject) => {
            const reader = new FileReader();
            reader.onload = () => resolve(reader.result.split(",", 2)[1] || "");
            reader.onerror = () => reject(reader.error);
            reader.readAsDataURL(file);
        });
    }

    async #augment() {
        const {button, choice} = this.made;
        button.disabled = true;
        button.textContent = RimoPage.say("Making …");
        await this.#tell(async () => {
            await this.saved();
            this.made.take(await this.server.ask("augment", {
                ...this.made.request, set: this.originals.set, base: this.base(),
                name: this.triggerWord.replace(/[^\w-]+/g, "_"),
            }));
            choice.value = "augmented";
            this.onSize(this.made.size);
            this.#changed();
        });
        button.disabled = false;
        this.made.show();
    }

    async #remove(picture) {
        this.originals = await this.server.ask("remove", {set: this.originals.set, name: picture.name});
        this.#changed();
    }

    #showLarge(index) {
        const {own} = this.originals;
        this.viewer.open(() => this.originals, index, own ? {
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
                const {caption} = await this.server.ask("interrogate", {set, name: next, with: name});
                const picture = bare().find((one) => one.name === next);
                if (!picture) continue;
                this.#write(picture, caption);
                this.gallery.update(picture);
            }
        });
        button.textContent = name;
        button.disabled = false;
    }

    /** Do something; what goes wrong is said above the pictures. */
    async #tell(action) {
        this.problem.hidden = true;
        try {
            await action();
        } catch (error) {
            this.problem.textContent = error.message;
            this.problem.hidden = false;
        }
    }

    #changed() {
        this.memory.set("set", this.originals.set);
        this.memory.set("augmented", this.made.made.set);
        this.memory.set("choice", this.made.choice.value);
        this.#show();
        this.onChange();
    }

    #key(picture) {
        return `${this.originals.set}\n${picture.name}`;
    }

    /** Take a caption down at once; the server gets it when it has those before. */
    #write(picture, caption) {
        if (caption === picture.caption) return;
        picture.caption = caption;
        this.unsaved.set(this.#key(picture), {set: this.originals.set, name: picture.name, caption});
        this.#keepUnsaved();
        this.#send();
    }

    /** Wait until the server has every caption; throws where it does not answer. */
    async saved() {
        await this.#send();
        if (this.unsaved.size) throw new Error(this.unsavedHint.textContent);
    }

    /** Send what the server does not have yet, one after another; once at a time. */
    #send() {
        this.sending ||= this.#sendAll().finally(() => {
            this.sending = null;
        });
        return this.sending;
    }

    async #sendAll() {
        clearTimeout(this.again);
        const hasSent = this.unsaved.size > 0;
        while (this.unsaved.size) {
            const [key, caption] = this.unsaved.entries().next().value;
            try {
                await this.server.ask("caption", caption);
            } catch (error) {
                if (error.isGone) {
                    this.unsavedHint.textContent = RimoPage.say("The server does not answer. Captions that this browser keeps until it does: {n}.", {n: this.unsaved.size});
                    this.unsavedHint.hidden = false;
                    this.again = setTimeout(() => this.#send(), RimoTrainPictures.AGAIN);
                    return;
                }
                this.problem.textContent = error.message; // that picture is gone, or the disk is full
                this.problem.hidden = false;
            }
            if (this.unsaved.get(key) === caption) this.unsaved.delete(key); // else typed on meanwhile
            this.#keepUnsaved();
        }
        this.unsavedHint.hidden = true;
        if (hasSent) this.onChange(); // made pictures may be stale now
    }

    #keepUnsaved() {
        this.memory.set("unsaved", [...this.unsaved]);
    }

    #show() {
        const some = this.originals.pictures.length > 0;
        for (const part of [this.captions, this.gallery.root, this.made.root]) part.hidden = !some;
        this.drop.classList.toggle("rimo-filled", some);
        this.proposals.hidden = !this.interrogators.length;
        this.gallery.show(this.originals.pictures, (picture) => this.#below(picture));
        this.made.show();
    }

    /** What stands under a picture: its caption to edit, or why it is left out. */
    #below(picture) {
        if (picture.left_out) {
            return RimoPage.make("p", "rimo-problem", {
                textContent: RimoPage.say("Left out: it {reason}.", {reason: picture.left_out}),
            });
        }
        return this.asText ? this.#textEditor(picture) : this.#tagEditor(picture);
    }

    #textEditor(picture) {
        const area = RimoPage.make("textarea", "", {
            value: picture.caption, rows: 3, placeholder: RimoPage.say("caption"),
            ariaLabel: RimoPage.say("Caption of {name}", {name: picture.name}),
        });
        area.addEventListener("input", () => this.#write(picture, area.value.trim()));
        return area;
    }

    #tagEditor(picture) {
        const {make, say} = RimoPage;
        const tags = picture.caption.split(",").map((tag) => tag.trim()).filter(Boolean);
        const save = (now) => {
            this.#write(picture, now.join(", "));
            const editor = this.#tagEditor(picture);
            const hasFocus = box.contains(document.activeElement);
            box.replaceWith(editor);
            if (hasFocus) editor.querySelector("input").focus();
        };
        const chips = tags.map((tag, index) => {
            const cross = RimoPage.button("×", "Remove this tag",
                () => save(tags.filter((_, other) => other !== index)));
            cross.tabIndex = -1; // Backspace in the field does the same
            cross.ariaLabel = say("Remove {tag}", {tag});
            return make("span", "rimo-chip", {}, tag, cross);
        });
        const input = make("input", "", {
            type: "text", placeholder: say("add a tag"), spellcheck: false,
            ariaLabel: say("Add a tag to {name}", {name: picture.name}),
        });
        const add = () => {
            const tag = input.value.trim();
            input.value = ""; // leaving the field would add it once more
            if (tag) save([...tags, tag]);
        };
        input.addEventListener("keydown", (event) => {
            if (event.key === "Enter" || event.key === ",") {
                event.preventDefault();
                add();
            }
            if (event.key === "Backspace" && !input.value && tags.length) save(tags.slice(0, -1));
        });
        input.addEventListener("change", add);
        const box = make("div", "rimo-chips", {}, make("div", "rimo-chip-list", {}, ...chips), input);
        return box;
    }
}
