"use strict";

/** What stands under a picture: its caption, as tags or as plain text. */
class RimoTrainCaptionEditor {
    /** `propose(typed)` proposes tags. */
    constructor(captions, propose) {
        this.captions = captions;
        this.propose = propose;
        this.asText = false;
    }

    /** The editor of one picture, or why the picture is left out. */
    make(picture) {
        if (picture.left_out) {
            return RimoPage.make("p", "rimo-problem", {
                textContent: RimoPage.say("Left out: it {reason}.", {reason: picture.left_out}),
            });
        }
        return this.asText ? this.#text(picture) : this.#tags(picture);
    }

    #text(picture) {
        const {make, say} = RimoPage;
        const words = say("typing in {name}", {name: picture.name});
        const area = make("textarea", "", {
            value: picture.caption, rows: 3, placeholder: say("caption"),
            ariaLabel: say("Caption of {name}", {name: picture.name}),
        });
        area.addEventListener("input", () =>
            this.captions.change(new Map([[picture.name, area.value.trim()]]), words, area));
        return area;
    }

    #tags(picture) {
        const {make, say, button} = RimoPage;
        const tags = RimoTrainCaptions.tags(picture.caption);
        const save = (now, words) => {
            const hadFocus = box.contains(document.activeElement);
            this.captions.change(new Map([[picture.name, now.join(", ")]]), words, box);
            const editor = this.#tags(picture);
            box.replaceWith(editor);
            if (hadFocus) editor.querySelector("input").focus();
        };
        const without = (index) => save(tags.filter((_, other) => other !== index),
            say("removing {tag} from {name}", {tag: tags[index], name: picture.name}));
        const chips = tags.map((tag, index) => {
            const cross = button("×", "Remove this tag", () => without(index));
            cross.tabIndex = -1; // Backspace in the field does the same
            cross.ariaLabel = say("Remove {tag}", {tag});
            return make("span", "rimo-chip", {}, tag, cross);
        });
        const field = new RimoTagField({
            label: say("Add a tag to {name}", {name: picture.name}),
            placeholder: say("add a tag"),
            propose: this.propose,
            onTags: (added) => save([...tags, ...added],
                say("adding {tag} to {name}", {tag: added.join(", "), name: picture.name})),
            onBackspace: () => tags.length && without(tags.length - 1),
        });
        const box = make("div", "rimo-chips", {}, make("div", "rimo-chip-list", {}, ...chips), field.root);
        return box;
    }
}
