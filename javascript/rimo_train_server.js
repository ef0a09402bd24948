"use strict";

/** The server's side of the Train tab; see `lib_rimo/ui/train_server.py`. */
class RimoTrainServer {
    constructor(url) {
        this.url = url;
    }

    /**
     * Ask for one thing. An answer that is an error of the user's is thrown with its sentence, and
     * with the option that it speaks of as `field`.
     */
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
        if (reply.error) {
            throw Object.assign(new Error(RimoPage.told(reply.error)),
                {field: /^(\w+) is /.exec(reply.error)?.[1]});
        }
        return reply;
    }
}
