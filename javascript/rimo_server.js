"use strict";

/** The WebUI's side of the panel: presets, facts of files, problems of tags. */
class RimoServer {
    constructor(url) {
        this.url = url;
    }

    /** What the server says about a prompt; see `answer` in `lib_rimo/ui/panel.py`. */
    ask(prompt) {
        return this.#post({prompt});
    }

    /** The same, after keeping a preset. */
    save(prompt, name, values) {
        return this.#post({prompt, save: [name, values]});
    }

    async #post(request) {
        const response = await fetch(this.url, {
            method: "POST",
            headers: {"Content-Type": "application/json"},
            body: JSON.stringify({data: [JSON.stringify(request)]}),
        });
        if (!response.ok) throw new Error(`HTTP ${response.status}`);
        return JSON.parse((await response.json()).data[0]);
    }
}
