"use strict";

/**
 * A LoRA tag in a prompt: what `lib_rimo/weights/tags.py` reads, as far as the sliders need it.
 * Editing replaces the block values alone; every other item keeps its text.
 */
class RimoLoraTag {
    static MOST_TAGS = 1000;

    /** The LoRA tags of a prompt in their order, up to as many as Python reads. */
    static findAll(prompt, presets = {}) {
        const tags = [];
        let count = 0;
        // The WebUI's pattern of an extra network, <(\w+):([^>]+)>, whatever its kind; found in
        // one go, however many are open.
        const kinds = /<([\p{L}\p{N}_]+):/gu;
        for (let found; (found = kinds.exec(prompt));) {
            const end = prompt.indexOf(">", kinds.lastIndex);
            if (end < 0) break;
            const body = prompt.slice(kinds.lastIndex, end);
            if (body) kinds.lastIndex = end + 1;
            if (!body || !/^(lora|lyco)$/i.test(found[1])) continue;
            if (++count > RimoLoraTag.MOST_TAGS) break;
            if (found[1] !== "lora" && found[1] !== "lyco") continue;
            const tag = new RimoLoraTag(found[1], body, found.index, presets);
            if (tag.name) tags.push(tag);
        }
        return tags;
    }

    constructor(kind, body, start, presets) {
        this.kind = kind;
        this.items = body.split(":");
        this.start = start;
        this.end = start + kind.length + body.length + 3;
        const positional = this.#positional();
        this.name = this.items[positional[0]] ?? "";
        /** The strengths in the text encoder and in the UNet: numbers, or ramps as text. */
        this.te = this.unet = 1;
        this.blocksText = null;
        /** Where the block values stand, or where they would be put. */
        this.place = this.items.length;
        /** Where a number stands that X means in them; it goes when they go. */
        this.inheritedPlace = -1;
        /** @type {?RimoBlockWeights} null where the tag has none, or none that can be read */
        this.blocks = null;
        this.#readBlocks(positional.slice(1), presets);
    }

    /** This tag's text with other block values, or without any (null). */
    withBlocks(text) {
        const items = [...this.items];
        if (this.inheritedPlace >= 0) items.splice(this.inheritedPlace, 1);
        const removed = this.blocksText === null ? 0 : 1;
        if (text === null) {
            items.splice(this.place, removed);
        } else {
            const positional = !RimoBlockWeights.isStrength(text) && !this.isNamed;
            items.splice(this.place, removed, positional ? text : `lbw=${text}`);
        }
        return `<${this.kind}:${items.join(":")}>`;
    }

    /** A prompt with other block values in this tag. */
    editIn(prompt, text) {
        return prompt.slice(0, this.start) + this.withBlocks(text) + prompt.slice(this.end);
    }

    /** Indexes of the items that aren't `name=value`. */
    #positional() {
        return [...this.items.keys()].filter((index) => this.items[index].split("=").length !== 2);
    }

    #named(...names) {
        for (const name of names) {
            const index = this.items.findLastIndex((item) => {
                const parts = item.split("=");
                return parts.length === 2 && parts[0] === name;
            });
            if (index >= 0) return index;
        }
        return -1;
    }

    /** The text of a `name=value` item; null without one. */
    #option(name) {
        const index = this.#named(name);
        return index < 0 ? null : this.items[index].slice(name.length + 1);
    }

    /** A number, or the text of one that changes over the steps. */
    static #strength(text) {
        return RimoBlockWeights.isRamp(text) ? text : Number(RimoBlockWeights.trimmed(text));
    }

    #readBlocks(positional, presets) {
        const first = positional.findIndex((index) => !RimoBlockWeights.isStrength(this.items[index]));
        const numbers = first < 0 ? positional : positional.slice(0, first);
        this.te = RimoLoraTag.#strength(this.#option("te") ?? this.items[numbers[0]] ?? "1");
        const unet = this.#option("unet") ?? this.items[numbers[1]];
        this.unet = unet === undefined ? this.te : RimoLoraTag.#strength(unet);
        const named = this.#named("lbw", "w");
        let inherited = this.#option("x");
        this.isNamed = named >= 0;
        if (this.isNamed) {
            this.place = named;
            this.blocksText = this.items[named].slice(this.items[named].indexOf("=") + 1);
        } else if (first >= 0) {
            this.place = positional[first];
            this.blocksText = this.items[this.place];
            if (first + 1 < positional.length) {
                this.inheritedPlace = positional[first + 1];
                inherited ??= this.items[this.inheritedPlace];
            }
        } else if (numbers.length) {
            this.place = numbers[numbers.length - 1] + 1;
        }
        if (this.blocksText === null) return;
        const number = inherited === null ? null : Number(inherited);
        this.blocks = RimoBlockWeights.parse(this.blocksText, presets, number);
    }
}
