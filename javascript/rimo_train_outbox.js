"use strict";

/** What was changed here and the server does not have yet: sent one after another, kept while it is gone. */
class RimoTrainOutbox {
    /** Milliseconds until it is sent again to a server that did not answer. */
    static AGAIN = 2000;
    /** What the browser keeps over a reload; masks are too large for it. */
    static KEPT = ["caption"];

    /**
     * `onSent()` is called when all is sent, `onTrouble(text)` with what was refused, and
     * `onGone(text)` while the server does not answer; empty once it does.
     */
    constructor(server, memory, {onSent, onTrouble, onGone}) {
        Object.assign(this, {server, memory, onSent, onTrouble, onGone});
        /** By what is changed: a later change takes the place of one that was not sent yet. */
        this.waiting = new Map((memory.get("unsaved") || []).filter(([, change]) => change.what));
    }

    /**
     * Have the server do `what` with a request; `key` says what is changed by it. `onReply(reply)`
     * is called once it has, `onRefused(text)` instead of `onTrouble`.
     */
    put(key, what, request, {onReply, onRefused} = {}) {
        this.waiting.set(key, {what, request, onReply, onRefused});
        this.#keep();
        this.send();
    }

    /** What of a key waits to be sent. */
    find(key) {
        return this.waiting.get(key)?.request;
    }

    /** Wait until the server has everything; throws where it does not answer. */
    async emptied() {
        await this.send();
        if (this.waiting.size) throw new Error(this.#goneText());
    }

    /** Send what the server does not have yet; once at a time. */
    send() {
        this.sending ||= this.#sendAll().finally(() => {
            this.sending = null;
        });
        return this.sending;
    }

    async #sendAll() {
        clearTimeout(this.again);
        let hasSent = false;
        while (this.waiting.size) {
            const [key, change] = this.waiting.entries().next().value;
            try {
                const reply = await this.server.ask(change.what, change.request);
                change.onReply?.(reply);
                hasSent = true;
            } catch (error) {
                if (error.isGone) {
                    this.onGone(this.#goneText());
                    this.again = setTimeout(() => this.send(), RimoTrainOutbox.AGAIN);
                    return;
                }
                (change.onRefused || this.onTrouble)(error.message); // the picture is gone, the disk is full
            }
            if (this.waiting.get(key) === change) this.waiting.delete(key); // else changed on meanwhile
            this.#keep();
        }
        this.onGone("");
        if (hasSent) this.onSent();
    }

    #goneText() {
        return RimoPage.say("The server does not answer. Changes that this browser keeps until it does: {n}.", {n: this.waiting.size});
    }

    #keep() {
        this.memory.set("unsaved", [...this.waiting].filter(([, {what}]) => RimoTrainOutbox.KEPT.includes(what))
            .map(([key, {what, request}]) => [key, {what, request}]));
    }
}
