"use strict";

/** The most common tags of booru sites, asked for once. */
class RimoBooruTags {
    constructor(server) {
        this.server = server;
        this.tags = [];
    }

    load() {
        this.loading ||= this.server.ask("tags").then(
            ({tags}) => { this.tags = tags; },
            () => { this.loading = null; }); // then only the set's own tags are proposed
    }

    /** Up to `most` tags for what was typed: of `own`, a tag -> how often, first, then common ones. */
    propose(typed, own, most = 8) {
        const {rank} = RimoBooruTags;
        const found = [];
        const look = (tag, note, place) => {
            const fit = rank(tag, typed);
            if (fit && tag !== typed) found.push({tag, note, order: [note ? 0 : 1, fit, place]});
        };
        for (const [tag, count] of own) look(tag, `${count}`, -count);
        for (const [place, tag] of this.tags.entries()) if (!own.has(tag)) look(tag, "", place);
        const before = (one, other) => {
            const index = one.order.findIndex((value, at) => value !== other.order[at]);
            return index < 0 ? 0 : one.order[index] - other.order[index];
        };
        return found.sort(before).slice(0, most);
    }

    /** 1 where a tag begins so, 2 where a word of it does, 3 where it is inside, 0 where it is not. */
    static rank(tag, typed) {
        const [text, part] = [tag, typed].map((each) => each.toLowerCase().replaceAll("_", " "));
        const place = text.indexOf(part);
        if (!part || place < 0) return 0;
        if (place === 0) return 1;
        return /[ (-]/.test(text[place - 1]) ? 2 : 3;
    }
}

/** A field for tags that proposes some while one types: arrows choose, Enter or a comma takes. */
class RimoTagField {
    static count = 0;

    /**
     * `propose(typed)` gives `{tag, note}`s, `onTags(tags)` takes what is entered. One that is
     * `hasty` takes a proposal at once, and what was typed where the field is left.
     */
    constructor({label, placeholder, propose, onTags, onBackspace = null, hasty = true}) {
        const {make, say} = RimoPage;
        this.propose = propose;
        this.onTags = onTags;
        this.hasty = hasty;
        this.id = `rimo_tags_${RimoTagField.count += 1}`;
        this.input = make("input", "", {
            type: "text", placeholder, spellcheck: false, autocomplete: "off",
            ariaLabel: label, role: "combobox", ariaAutoComplete: "list", ariaExpanded: "false",
        });
        this.input.setAttribute("autocapitalize", "none");
        this.input.setAttribute("aria-controls", this.id);
        this.list = make("ul", "rimo-proposals", {id: this.id, role: "listbox", hidden: true, ariaLabel: say("Proposed tags")});
        this.root = make("div", "rimo-tag-field", {}, this.input, this.list);
        this.input.addEventListener("input", () => this.#show());
        this.input.addEventListener("keydown", (event) => this.#key(event, onBackspace));
        this.input.addEventListener("change", () => this.hasty && this.#take(this.input.value));
        this.input.addEventListener("blur", () => this.#close());
        this.list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
        this.list.addEventListener("click", (event) => {
            const item = event.target.closest("[role=option]");
            if (item) this.#accept(item.dataset.tag);
        });
    }

    get value() {
        return this.input.value.trim();
    }

    /** Take what stands in the field, as Enter does. */
    enter() {
        this.#take(this.input.value);
    }

    #show() {
        const {make, say} = RimoPage;
        const proposed = this.value ? this.propose(this.value) : [];
        this.list.replaceChildren(...proposed.map(({tag, note}, index) => {
            const item = make("li", "", {id: `${this.id}_${index}`, role: "option", ariaSelected: "false"},
                make("span", "", {textContent: tag}));
            if (note) item.append(make("small", "", {textContent: note, title: say("Pictures of this set that have it")}));
            item.dataset.tag = tag;
            return item;
        }));
        this.list.hidden = !proposed.length;
        this.input.ariaExpanded = String(!this.list.hidden);
        this.#choose(-1);
    }

    #choose(index) {
        const {length} = this.list.children;
        this.chosen = length ? (index + 1 + length + 1) % (length + 1) - 1 : -1; // -1: what was typed
        for (const [place, item] of [...this.list.children].entries()) {
            item.ariaSelected = String(place === this.chosen);
            if (place === this.chosen) item.scrollIntoView({block: "nearest"});
        }
        const item = this.list.children[this.chosen];
        if (item) this.input.setAttribute("aria-activedescendant", item.id);
        else this.input.removeAttribute("aria-activedescendant");
    }

    #close() {
        this.list.hidden = true;
        this.input.ariaExpanded = "false";
        this.list.replaceChildren();
        this.#choose(-1);
    }

    #key(event, onBackspace) {
        if (event.isComposing) return; // an input method's own Enter and arrows
        const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
        const item = this.list.children[this.chosen];
        if (step && !this.list.hidden) {
            event.preventDefault();
            this.#choose(this.chosen + step);
        } else if (event.key === "Enter" || event.key === "," || (event.key === "Tab" && item)) {
            event.preventDefault();
            if (item && event.key !== ",") this.#accept(item.dataset.tag);
            else this.#take(this.input.value);
        } else if (event.key === "Escape" && !this.list.hidden) {
            event.preventDefault();
            event.stopPropagation();
            this.#close();
        } else if (event.key === "Backspace" && !this.input.value) {
            onBackspace?.();
        }
    }

    #accept(tag) {
        if (this.hasty) {
            this.#take(tag);
        } else {
            this.input.value = tag;
            this.#close();
        }
    }

    #take(text) {
        const tags = RimoTrainCaptions.tags(text);
        this.input.value = ""; // leaving the field would take it once more
        this.#close();
        if (tags.length) this.onTags(tags);
    }
}
