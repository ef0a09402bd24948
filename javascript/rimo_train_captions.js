"use strict";

/** The captions of a set: changed at once, of one picture or of many, undone and done again. */
class RimoTrainCaptions {
    /** Steps that can be undone. */
    static MOST = 200;

    /** `onChange(pictures, editor)` is called with the pictures whose captions are others now. */
    constructor(outbox, onChange) {
        this.outbox = outbox;
        this.onChange = onChange;
        this.histories = new Map(); // set -> what was done and undone there
        this.take({set: "", pictures: []});
    }

    /** The tags of a caption. */
    static tags(caption) {
        return caption.split(",").map((tag) => tag.trim()).filter(Boolean);
    }

    /** Speak of this set's pictures from now on; what waits to be sent is what they are called. */
    take({set, pictures}) {
        this.set = set;
        this.pictures = pictures;
        for (const picture of pictures) {
            picture.caption = this.outbox.find(this.#key(picture.name))?.caption ?? picture.caption;
        }
        if (!this.histories.has(set)) this.histories.set(set, {done: [], undone: []});
    }

    /** Those whose captions can be read and written. */
    get usable() {
        return this.pictures.filter((picture) => !picture.left_out);
    }

    /**
     * Change captions as one step: `captions` is a picture's name -> its caption, `words` says what
     * is done. While `editor`, an element, types on, its steps are one.
     */
    change(captions, words, editor = null) {
        const changes = new Map();
        for (const picture of this.usable) {
            const after = captions.get(picture.name);
            if (after !== undefined && after !== picture.caption) {
                changes.set(picture.name, {before: picture.caption, after});
            }
        }
        if (!changes.size) return;
        const {done, undone} = this.#history;
        const last = done.at(-1);
        if (editor && last?.editor === editor && !undone.length) {
            for (const [name, {after}] of changes) last.changes.get(name).after = after;
        } else {
            done.push({changes, words, editor});
            if (done.length > RimoTrainCaptions.MOST) done.shift();
        }
        undone.length = 0;
        this.#write(changes, "after", editor);
    }

    /** What undoing or doing again would change, in words; empty where there is nothing. */
    get nextUndo() {
        return this.#history.done.at(-1)?.words || "";
    }

    get nextRedo() {
        return this.#history.undone.at(-1)?.words || "";
    }

    undo() {
        this.#move("done", "undone", "before");
    }

    redo() {
        this.#move("undone", "done", "after");
    }

    get #history() {
        return this.histories.get(this.set);
    }

    #move(from, to, side) {
        const step = this.#history[from].pop();
        if (!step) return;
        step.editor = null; // who types on begins a step of its own
        this.#history[to].push(step);
        this.#write(step.changes, side, null);
    }

    #write(changes, side, editor) {
        const changed = this.usable.filter(({name}) => changes.has(name)); // others are thrown out
        for (const picture of changed) {
            const caption = changes.get(picture.name)[side];
            picture.caption = caption;
            this.outbox.put(this.#key(picture.name), "caption", {set: this.set, name: picture.name, caption});
        }
        this.onChange(changed, editor);
    }

    #key(name) {
        return `${this.set}\n${name}`;
    }
}
