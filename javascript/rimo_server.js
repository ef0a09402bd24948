"use strict";

/** The server's side of a panel or a tab: one Gradio event that takes and gives JSON. */
class RimoServer {
    /** Milliseconds between looks at how far something is. */
    static INTERVAL = 1000;
    /** Looks that may fail one after the other before the server is taken for gone. */
    static LOOKS = 20;

    constructor(url) {
        this.url = url;
    }

    /**
     * Ask for one thing; see `lib_rimo/ui/train_server.py` and `lib_rimo/ui/panel_server.py`.
     *
     * What the user can mend is thrown with its text, and with the `messages` that it is made of; a
     * server that does not answer with `isGone`.
     */
    async ask(what, request = {}) {
        let response;
        try {
            response = await fetch(this.url, {
                method: "POST",
                headers: {"Content-Type": "application/json"},
                body: JSON.stringify({data: [JSON.stringify({do: what, ...request})]}),
            });
            if (!response.ok) throw new Error(`HTTP ${response.status}`);
        } catch (cause) {
            const text = RimoPage.say("The server does not answer; it may have been stopped.");
            throw Object.assign(new Error(text, {cause}), {isGone: true, messages: []});
        }
        return RimoServer.#accepted(JSON.parse((await response.json()).data[0]));
    }

    /** A reply, thrown where it is a refusal. */
    static #accepted(reply) {
        if (reply.error) {
            const {messages, is_stale: isStale} = reply;
            const error = new Error(RimoPage.text(messages || reply.error));
            throw Object.assign(error, {messages: messages || [], isStale: isStale === true});
        }
        return reply;
    }

    /**
     * Ask for what may outlast the connection, by a ticket of its own. The server does it all the
     * same, so where the connection broke its answer is asked for: `lib_rimo/ui/outcomes.py`.
     */
    async askPatiently(what, request = {}, ticket = RimoServer.#newTicket()) {
        try {
            return await this.ask(what, {...request, ticket, keep: true});
        } catch (error) {
            if (!error.isGone) throw error;
            const reply = await this.#outcome(ticket);
            if (!reply) throw error;
            return RimoServer.#accepted(reply);
        }
    }

    /**
     * Ask for what takes a while: `onProgress(text, ticket)` is called with how far it is, and
     * `stop(ticket)` stops it.
     */
    async askLong(what, request, onProgress) {
        const ticket = RimoServer.#newTicket();
        let isOver = false;
        const looking = setInterval(async () => {
            const {progress} = await this.ask("verb", {ticket}).catch(() => ({}));
            if (progress && !isOver) onProgress(RimoServer.#told(progress), ticket);
        }, RimoServer.INTERVAL);
        try {
            return await this.askPatiently(what, request, ticket);
        } finally {
            isOver = true;
            clearInterval(looking);
        }
    }

    /** Stop what was asked for with `askLong`. */
    async stop(ticket) {
        await this.ask("stop_verb", {ticket});
    }

    static #newTicket() {
        return Math.random().toString(36).slice(2);
    }

    /** The reply to the request of a ticket, waited for; null where the server knows of none. */
    async #outcome(ticket) {
        for (let looks = 0; looks < RimoServer.LOOKS; looks += 1) {
            await new Promise((resolve) => setTimeout(resolve, RimoServer.INTERVAL));
            const outcome = await this.ask("outcome", {ticket}).catch(() => null);
            if (outcome?.is_pending) looks = 0;
            else if (outcome) return outcome.reply;
        }
        return null;
    }

    static #told({what, done, total, seconds_left: seconds}) {
        const {duration, say, text} = RimoPage;
        const place = `${text(what)}: ${done} / ${total}`;
        return seconds === null ? place : `${place} · ${say("{time} left", {time: duration(seconds)})}`;
    }

    /**
     * Ask for what a model may have to be fetched for: `onFetch()` is called when the user wants
     * that, and then it is asked for again. `onProgress` as in `askLong`.
     */
    async askWithModel(what, request, onFetch, onProgress = null) {
        const ask = () => onProgress ? this.askLong(what, request, onProgress) : this.askPatiently(what, request);
        try {
            return await ask();
        } catch (error) {
            const missing = (error.messages || []).find(({about}) => about?.startsWith("fetch "));
            if (!missing) throw error;
            const question = RimoPage.say("This needs a model that is not here yet. Fetch {model} from Hugging Face now, once (about {megabytes} MB)?", missing.values);
            if (!window.confirm(question)) throw error;
            onFetch();
            await this.askPatiently("fetch_model", {verb: missing.values.verb});
            return ask();
        }
    }
}
