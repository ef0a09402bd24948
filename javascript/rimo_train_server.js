"use strict";

/** The server's side of the Train tab; see `lib_rimo/ui/train_server.py`. */
class RimoTrainServer {
    constructor(url) {
        this.url = url;
    }

    /** Ask for one thing; an answer that is an error of the user's is thrown with its sentence. */
    async ask(what, request = {}) {
        const response = await fetch(this.url, {
            method: "POST",
            headers: {"Content-Type": "application/json"},
            body: JSON.stringify({data: [JSON.stringify({do: what, ...request})]}),
        });
        if (!response.ok) {
            throw new Error(RimoPage.say("The server does not answer; it may have been stopped."));
        }
        const reply = JSON.parse((await response.json()).data[0]);
        if (reply.error) throw new Error(reply.error);
        return reply;
    }
}
