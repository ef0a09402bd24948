"use strict";

/** The tags of all pictures of a set: how often each stands there, and what is done to all at once. */
class RimoTrainTags {
    /** Of many tags only the most frequent are there until all are asked for. */
    static FIRST = 40;

    /** `onFilter()` is called when other pictures are to be shown; `propose(typed)` proposes tags. */
    constructor(captions, {onFilter, propose}) {
        this.captions = captions;
        this.onFilter = onFilter;
        this.propose = propose;
        this.chosen = "";
        this.filter = "";
        this.isOpen = false;
        this.#build();
    }

    #build() {
        const {make, say, button} = RimoPage;
        this.cloud = make("div", "rimo-cloud", {role: "group", ariaLabel: say("Tags and how many pictures have them")});
        this.cloud.addEventListener("keydown", (event) => this.#key(event));
        this.more = button("Show all", "Show all tags", () => {
            this.isOpen = true;
            this.show();
        });
        this.added = new RimoTagField({
            label: say("Add a tag to all shown pictures"), placeholder: say("a tag for all …"),
            propose: this.propose, hasty: false, onTags: (tags) => this.#add(tags),
        });
        this.place = make("select", "rimo-where", {ariaLabel: say("Where the tag is put")},
            make("option", "", {value: "end", textContent: say("at the end")}),
            make("option", "", {value: "start", textContent: say("at the beginning")}));
        this.add = button("Add to all", "Add the tag to every shown picture that lacks it", () => this.added.enter());
        this.undo = button("Undo", "Undo", () => this.captions.undo());
        this.redo = button("Redo", "Redo", () => this.captions.redo());
        this.shown = make("select", "", {ariaLabel: say("Pictures shown")});
        this.shown.addEventListener("change", () => this.#filter(this.shown.value));
        this.remove = button("Remove from all", "Take the tag out of every shown picture", () => this.#replace([]));
        this.instead = new RimoTagField({
            label: say("Tag to put in its place"), placeholder: say("another instead …"),
            propose: this.propose, hasty: false, onTags: (tags) => this.#replace(tags),
        });
        this.change = button("Replace in all", "Put the other tag in its place in every shown picture", () => this.instead.enter());
        this.name = make("strong", "rimo-tag-name");
        this.row = make("div", "rimo-bar rimo-one-tag", {hidden: true, role: "group"},
            this.name, this.shown, this.remove, this.instead.root, this.change);
        this.state = make("p", "rimo-hint", {role: "status"});
        this.root = make("details", "rimo-fold rimo-tags", {open: true},
            make("summary", "", {textContent: say("Tags of all pictures")}),
            this.cloud, this.more, this.row,
            make("div", "rimo-bar", {}, this.added.root, this.place, this.add, this.undo, this.redo),
            this.state);
        this.root.addEventListener("keydown", (event) => this.#shortcut(event));
    }

    /** A tag -> how many pictures have it, the most frequent first. */
    get counts() {
        const counts = new Map();
        for (const {caption} of this.captions.usable) {
            for (const tag of new Set(RimoTrainCaptions.tags(caption))) counts.set(tag, (counts.get(tag) || 0) + 1);
        }
        return new Map([...counts].sort(([one, often], [other, oftener]) => oftener - often || one.localeCompare(other)));
    }

    /** The pictures to show: those that have or lack the chosen tag, as they were when that was asked. */
    get pictures() {
        const {pictures} = this.captions;
        return this.filter ? pictures.filter(({name}) => this.names.has(name)) : pictures;
    }

    /** Show how often tags stand there by now, and what can be done. */
    show() {
        const {make, say} = RimoPage;
        const {counts} = this;
        const all = this.captions.usable.length;
        if (this.chosen && !counts.has(this.chosen)) this.#forget();
        const few = !this.isOpen && counts.size > RimoTrainTags.FIRST;
        const listed = [...counts].slice(0, few ? RimoTrainTags.FIRST : counts.size);
        const focused = [...this.cloud.children].findIndex((chip) => chip === document.activeElement);
        this.cloud.replaceChildren(...listed.map(([tag, count]) => {
            const chip = make("button", "rimo-button rimo-tag", {
                type: "button", title: say("{tag}: in {n} of {all} pictures", {tag, n: count, all}),
                ariaPressed: String(tag === this.chosen),
            }, tag, make("small", "", {textContent: count}));
            chip.addEventListener("click", () => this.#choose(tag));
            chip.dataset.tag = tag;
            return chip;
        }));
        this.#setCurrent(Math.max(focused, listed.findIndex(([tag]) => tag === this.chosen), 0));
        if (focused >= 0) this.cloud.children[Math.min(focused, listed.length - 1)]?.focus();
        this.more.hidden = !few;
        this.more.textContent = say("Show all {n}", {n: counts.size});
        this.row.hidden = !this.chosen;
        if (this.chosen) this.#showChosen(counts.get(this.chosen), all);
        const shown = this.#targets.length;
        this.add.textContent = this.filter ? say("Add to the {n} shown", {n: shown}) : say("Add to all");
        for (const [button, label, words] of [
            [this.undo, "Undo", this.captions.nextUndo], [this.redo, "Redo", this.captions.nextRedo],
        ]) {
            button.disabled = !words;
            button.title = words ? `${say(label)}: ${words}` : say(label);
        }
        this.state.textContent = {
            with: say("Shown: {n} of {all} pictures, those with {tag}.", {n: shown, all, tag: this.chosen}),
            without: say("Shown: {n} of {all} pictures, those without {tag}.", {n: shown, all, tag: this.chosen}),
        }[this.filter] || "";
    }

    /** Forget the filter, as for another set. */
    reset() {
        this.#forget();
        this.isOpen = false;
    }

    #forget() {
        this.chosen = this.filter = "";
        this.names = null;
    }

    #showChosen(count, all) {
        const {make, say} = RimoPage;
        this.name.textContent = this.chosen;
        this.row.ariaLabel = this.chosen;
        this.shown.replaceChildren(...[
            ["", say("all pictures ({n})", {n: all})],
            ["with", say("those with it ({n})", {n: count})],
            ["without", say("those without it ({n})", {n: all - count})],
        ].map(([value, textContent]) => make("option", "", {value, textContent})));
        this.shown.value = this.filter;
        this.remove.disabled = this.change.disabled = this.filter === "without";
    }

    /** A click shows those with a tag, the next one those without, the third all again. */
    #choose(tag) {
        if (tag !== this.chosen) this.filter = "";
        this.chosen = tag;
        this.#filter({"": "with", with: "without", without: ""}[this.filter]);
        if (!this.filter) {
            this.#forget();
            this.show();
        }
    }

    #filter(filter) {
        this.filter = filter;
        const has = ({caption}) => RimoTrainCaptions.tags(caption).includes(this.chosen);
        this.names = new Set(this.captions.usable
            .filter((picture) => has(picture) === (filter === "with")).map(({name}) => name));
        this.show();
        this.onFilter();
    }

    /** The pictures that changes count for: those shown. */
    get #targets() {
        return this.pictures.filter((picture) => !picture.left_out);
    }

    #add(added) {
        const captions = new Map(this.#targets.map((picture) => {
            const tags = RimoTrainCaptions.tags(picture.caption);
            const fresh = added.filter((tag) => !tags.includes(tag));
            if (!fresh.length) return [picture.name, picture.caption];
            return [picture.name, (this.place.value === "start" ? [...fresh, ...tags] : [...tags, ...fresh]).join(", ")];
        }));
        this.captions.change(captions, RimoPage.say("adding {tag} to {n} of the pictures", {tag: added.join(", "), n: captions.size}));
    }

    /** Put others, or none, in the place of the chosen tag. */
    #replace(others) {
        const {say} = RimoPage;
        const [tag, captions] = [this.chosen, new Map()];
        for (const picture of this.#targets) {
            const tags = RimoTrainCaptions.tags(picture.caption);
            if (tags.includes(tag)) {
                const put = tags.flatMap((each) => (each === tag ? others : [each]));
                captions.set(picture.name, [...new Set(put)].join(", "));
            }
        }
        const values = {tag, other: others.join(", "), n: captions.size};
        this.captions.change(captions, others.length
            ? say("putting {other} for {tag} in {n} of the pictures", values)
            : say("removing {tag} from {n} of the pictures", values));
    }

    #setCurrent(index) {
        for (const [place, chip] of [...this.cloud.children].entries()) chip.tabIndex = place === index ? 0 : -1;
    }

    /** Among the tags, of which one is in the order of tabs, arrows go to the others. */
    #key(event) {
        const chips = [...this.cloud.children];
        const index = chips.indexOf(document.activeElement);
        const to = {
            ArrowLeft: index - 1, ArrowRight: index + 1, ArrowUp: index - 1, ArrowDown: index + 1,
            Home: 0, End: chips.length - 1,
        }[event.key];
        if (chips[to]) {
            event.preventDefault();
            this.#setCurrent(to);
            chips[to].focus();
        }
    }

    /** Ctrl+Z and Ctrl+Y, but for what is just being typed. */
    #shortcut(event) {
        if (!(event.ctrlKey || event.metaKey) || event.target.value) return;
        const key = event.key.toLowerCase();
        if (key !== "z" && key !== "y") return;
        event.preventDefault();
        if (key === "y" || event.shiftKey) this.captions.redo();
        else this.captions.undo();
    }
}
