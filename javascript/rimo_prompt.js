"use strict";

/** A prompt's text area: its text, and news of every change whoever makes it. */
class RimoPrompt {
    /** Milliseconds between looks at the text: the WebUI also sets it without an event. */
    static INTERVAL = 400;

    constructor(textarea) {
        this.textarea = textarea;
    }

    get text() {
        return this.textarea.value;
    }

    /** Write the prompt as a user's typing would. */
    set text(text) {
        if (text === this.textarea.value) return;
        this.textarea.value = text;
        this.textarea.dispatchEvent(new Event("input", {bubbles: true}));
    }

    /** Call `listener` with the text whenever it has changed while `isWatched()`. */
    watch(isWatched, listener) {
        let known = null;
        const look = () => {
            if (!isWatched() || this.textarea.value === known) return;
            known = this.textarea.value;
            listener(known);
        };
        this.textarea.addEventListener("input", look);
        setInterval(look, RimoPrompt.INTERVAL);
    }
}
