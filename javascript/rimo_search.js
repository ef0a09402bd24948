"use strict";

/**
 * A search over a LoRA's states, from the plan to the result: how many pictures and how long, how far
 * it is, Stop, then a table, strips of pictures and the tag. See `lib_rimo/ui/search.py`.
 */
class RimoSearch {
    /** Milliseconds between looks at a search that goes on. */
    static INTERVAL = 1000;

    /** `onTag(result)` is called when the user wants what was found in the prompt. */
    constructor(onTag) {
        this.onTag = onTag;
        this.id = "";
        this.#build();
    }

    #build() {
        const {button, labelled, make, say} = RimoPage;
        this.line = make("p", "rimo-search-line");
        this.line.setAttribute("role", "status");
        this.notes = make("p", "rimo-search-line rimo-search-notes", {hidden: true, role: "status"});
        this.bar = make("div", "rimo-progress-fill");
        this.progress = make("div", "rimo-progress", {}, this.bar);
        this.folder = make("input", "rimo-text", {type: "text", spellcheck: false});
        this.ask = make("div", "rimo-search-bar", {},
            labelled("Training pictures", this.folder, "The folder that the LoRA was trained on"),
            button("Go on", "Begin with these pictures", () => this.start({...this.request, pictures: this.folder.value})));
        this.go = button("Start", "Draw these pictures", () => this.#tell("search_go"), "rimo-primary");
        this.stop = button("Stop", "Stop, with the best so far", () => this.#tell("search_stop"));
        this.use = button("Put it into the prompt", "Write this tag into the prompt",
            () => this.onTag(this.result), "rimo-primary");
        this.tag = make("code", "rimo-search-tag");
        this.table = make("table", "rimo-search-table");
        this.strips = make("div", "rimo-search-strips");
        this.found = make("div", "rimo-search-found", {},
            make("div", "rimo-search-bar", {}, this.tag, this.use), this.strips,
            make("details", "rimo-fold", {}, make("summary", "", {textContent: say("What was tried")}), this.table));
        this.root = make("section", "rimo-search", {hidden: true},
            this.line, this.notes, this.ask, this.progress,
            make("div", "rimo-search-bar", {}, this.go, this.stop), this.found);
    }

    /** Hide what is shown; a search that goes on does so. */
    close() {
        this.id = "";
        this.root.hidden = true;
        clearTimeout(this.waiting);
    }

    /** Plan a search; what the request holds is told in `lib_rimo/ui/search.py`. */
    async start(request) {
        this.close();
        this.server = new RimoServer(RimoSearch.url);
        this.request = request;
        this.root.hidden = false;
        this.ask.hidden = this.progress.hidden = this.found.hidden = true;
        this.go.hidden = this.stop.hidden = this.notes.hidden = true;
        this.line.textContent = RimoPage.say("Loading the model …");
        try {
            this.#show(await this.server.ask("search", request));
        } catch (error) {
            this.line.textContent = error.message;
            this.ask.hidden = !error.messages?.some((message) => message.about === "pictures");
        }
    }

    async #tell(what) {
        this.go.hidden = true;
        try {
            this.#show(await this.server.ask(what, {search: this.id}));
        } catch (error) {
            this.line.textContent = error.message;
        }
    }

    async #look() {
        const {id} = this;
        let search;
        try {
            search = await this.server.ask("search_watch", {search: id});
        } catch (error) {
            this.line.textContent = error.message;
            if (error.isGone) this.#lookAgain();
            return;
        }
        if (id === this.id) this.#show(search);
    }

    #lookAgain() {
        clearTimeout(this.waiting);
        this.waiting = setTimeout(() => this.#look(), RimoSearch.INTERVAL);
    }

    #show(search) {
        this.id = search.id;
        this.root.dataset.state = search.state;
        const goesOn = ["preparing", "planned", "running"].includes(search.state);
        this.line.textContent = RimoSearch.#line(search);
        const notes = RimoPage.text(search.notes);
        if (this.notes.textContent !== notes) this.notes.textContent = notes;
        this.notes.hidden = !notes;
        this.go.hidden = search.state !== "planned";
        this.stop.hidden = !goesOn;
        this.progress.hidden = search.state !== "running";
        this.bar.style.width = `${search.pictures ? 100 * search.done / search.pictures : 0}%`;
        if (goesOn) this.#lookAgain();
        else if (search.result) this.#showResult(search.result);
    }

    static #line(search) {
        const {duration, say, text} = RimoPage;
        const {pictures: n, done, seconds_left: seconds} = search;
        const left = seconds === null ? "" : duration(seconds);
        if (search.state === "preparing") return say("Loading the model …");
        if (search.state === "planned") {
            return left ? say("{n} pictures at most, about {time}.", {n, time: left})
                : say("{n} pictures at most; some are there already.", {n});
        }
        if (search.state === "running") {
            const place = say("Picture {done} of {n}", {done, n});
            return left ? `${place} · ${say("{time} left", {time: left})}` : place;
        }
        if (search.state === "failed") return text(search.messages);
        if (!search.result) return say("Stopped before anything was known.");
        const messages = text(search.result.messages);
        return search.state === "stopped" ? `${say("Stopped; the best so far:")} ${messages}` : messages;
    }

    #showResult(result) {
        const {make, say} = RimoPage;
        this.result = result;
        this.found.hidden = false;
        this.tag.textContent = result.tag;
        const row = (cells, kind) => make("tr", "", {},
            ...cells.map((cell) => make(kind, "", {textContent: cell})));
        this.table.replaceChildren(
            row([say("Tag"), say("fit"), say("keeping"), say("pictures")], "th"),
            ...result.table.map((tried) => row(
                [tried.tag, tried.fit.toFixed(2), tried.keeping.toFixed(2), tried.pictures], "td")));
        this.strips.replaceChildren();
        for (const name of ["choice", "blocks", "effects"]) {
            if (result.strips[name]) this.#addStrip(name);
        }
    }

    async #addStrip(name) {
        const {make, say} = RimoPage;
        const titles = {
            choice: "Without the LoRA, the best, the last step",
            blocks: "Before and after, on seeds that the search did not see",
            effects: "What each block does: the picture without it",
        };
        const image = make("img", "rimo-comparison", {alt: say(titles[name])});
        const fold = make("details", "rimo-fold", {open: name !== "effects"},
            make("summary", "", {textContent: say(titles[name])}), image);
        this.strips.append(fold);
        try {
            image.src = (await this.server.ask("search_strip", {search: this.id, name})).picture;
        } catch (error) {
            fold.replaceChildren(error.message);
        }
    }

    /** What stands in a tab of the page: model, negative prompt, sampler, steps, scale, size. */
    static pageOf(tab) {
        const page = typeof gradioApp === "function" ? gradioApp() : document;
        const value = (name, kind = "input") => {
            const [found] = page.querySelectorAll(`#${tab}_${name} ${kind}`);
            return found?.value ?? "";
        };
        const [width, height] = value("size", ":is(textarea, input)").split(/x/i);
        const settings = {
            negative_prompt: value("neg_prompt", ":is(textarea, input)"),
            // Radio buttons, where the WebUI is set so.
            sampler: value("sampling", "input:is(:checked, :not([type=radio]))"),
            schedule: value("scheduler"),
            steps: value("steps", "input[type=number]"),
            cfg_scale: value("cfg_scale", "input[type=number]"),
            width: value("width", "input[type=number]") || width || "",
            height: value("height", "input[type=number]") || height || "",
        };
        return {model: value("model"), settings};
    }

    /** Where the server's side is: the Train tab's, which the same page has; "" without one. */
    static get url() {
        const page = typeof gradioApp === "function" ? gradioApp() : document;
        return page.querySelector(".rimo-train")?.dataset.run ?? "";
    }
}
