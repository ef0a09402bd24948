"use strict";

/**
 * The block values of a LoRA tag: what `lib_rimo/weights/block_weights.py` reads, as far as the
 * sliders need it. A value is a number, "R" or "U" for one that is drawn at random, or the text of a
 * ramp, "0~0;1~1", for one that changes over the steps.
 */
class RimoBlockWeights {
    static IN = Array.from({length: 12}, (_, index) => `IN${String(index).padStart(2, "0")}`);
    static OUT = Array.from({length: 12}, (_, index) => `OUT${String(index).padStart(2, "0")}`);
    static BLOCKS = ["BASE", ...RimoBlockWeights.IN, "M00", ...RimoBlockWeights.OUT];
    static LAYOUTS = {
        12: ["BASE", "IN04", "IN05", "IN07", "IN08", "M00", ...RimoBlockWeights.OUT.slice(0, 6)],
        17: ["BASE", "IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "M00",
            ...RimoBlockWeights.OUT.slice(3)],
        20: ["BASE", ...RimoBlockWeights.IN.slice(0, 9), "M00", ...RimoBlockWeights.OUT.slice(0, 9)],
        26: RimoBlockWeights.BLOCKS,
    };
    // Every part ends where the next one begins: 10,000 digits are read once.
    static NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
    static MOST_POINTS = 100;
    static MOST_VALUES = 1000;

    /**
     * @param {Object<string, number|string>} values by block, all 26
     * @param {?number} layout how many values the vector has; null for the sparse form
     */
    constructor(values, layout) {
        this.values = values;
        this.layout = layout;
    }

    /** All blocks of a layout at full strength. */
    static plain(layout) {
        return new RimoBlockWeights(RimoBlockWeights.#filled(1), layout).within(layout);
    }

    /**
     * Read a vector, a preset's name or the sparse form.
     * @param {?number} inherited what an X stands for
     * @returns {?RimoBlockWeights} null for a text that is none of these
     */
    static parse(text, presets = {}, inherited = null) {
        text = RimoBlockWeights.trimmed(text);
        const values = Object.hasOwn(presets, text) ? presets[text] : text;
        if (values.includes("@")) return RimoBlockWeights.#parseSparse(values, inherited);
        return RimoBlockWeights.#parseVector(values, inherited);
    }

    /** A single value: a number, "R", "U" or a ramp; null for anything else. */
    static parseValue(text, inherited = null) {
        text = RimoBlockWeights.trimmed(text);
        if (text === "R" || text === "U") return text;
        const found = /^X(?:([+-])(.+))?$/.exec(text);
        if (found) {
            const offset = found[1] ? RimoBlockWeights.#number(found[2]) : 0;
            if (offset === null) return null;
            const base = inherited ?? 1;
            return Math.round((found[1] === "-" ? base - offset : base + offset) * 1e6) / 1e6;
        }
        return RimoBlockWeights.isRamp(text) ? text : RimoBlockWeights.#number(text);
    }

    /** A text without the spaces around it that may stand around a number, as Python has them. */
    static trimmed(text) {
        let [start, end] = [0, text.length];
        while (start < end && " \t\r\n".includes(text[start])) start++;
        while (end > start && " \t\r\n".includes(text[end - 1])) end--;
        return text.slice(start, end);
    }

    /** Whether a text is a strength that changes over the steps: `0@0,1@1`, `0~0;1~1`. */
    static isRamp(text) {
        if (!/[@~]/.test(text) || (text.includes(",") && text.includes(";"))) return false;
        const items = text.split(/[,;]/);
        if (items.length > RimoBlockWeights.MOST_POINTS) return false;
        return items.every((item, index) => {
            const parts = item.split(/[@~]/);
            const isWhole = parts.length === 2 || (parts.length === 1 && index === items.length - 1);
            return isWhole && parts.every(RimoBlockWeights.isNumber);
        });
    }

    /** Whether a text is a number or a ramp. */
    static isStrength(text) {
        return RimoBlockWeights.isNumber(text) || RimoBlockWeights.isRamp(text);
    }

    /** Whether a text is a finite decimal number. */
    static isNumber(text) {
        return RimoBlockWeights.#number(text) !== null;
    }

    /** The same weights with another value for one block. */
    with(block, value) {
        return new RimoBlockWeights({...this.values, [block]: value}, this.layout);
    }

    /** The same weights with 0 in the blocks that a layout does not name. */
    within(layout) {
        const named = RimoBlockWeights.LAYOUTS[layout];
        const values = {...this.values};
        for (const block of RimoBlockWeights.BLOCKS) if (!named.includes(block)) values[block] = 0;
        return new RimoBlockWeights(values, this.layout);
    }

    /** The values as text: a vector of at least this layout, or the sparse form. */
    write(layout = this.layout) {
        if (layout === null) return this.#writeSparse();
        const family = layout === 12 || layout === 20 ? [12, 20, 26] : [17, 26];
        const fitting = family.find((size) => size >= layout && this.#isZeroOutside(size));
        return RimoBlockWeights.LAYOUTS[fitting].map((block) => this.values[block]).join(",");
    }

    /** Whether both mean the same. */
    equals(other) {
        return RimoBlockWeights.BLOCKS.every((block) => this.values[block] === other.values[block]);
    }

    #isZeroOutside(layout) {
        const named = RimoBlockWeights.LAYOUTS[layout];
        return RimoBlockWeights.BLOCKS.every(
            (block) => named.includes(block) || this.values[block] === 0,
        );
    }

    #writeSparse() {
        const runs = [];
        for (const block of RimoBlockWeights.BLOCKS) {
            const last = runs[runs.length - 1];
            if (last && last.value === this.values[block]) last.end = block;
            else runs.push({start: block, end: block, value: this.values[block]});
        }
        const items = runs.filter((run) => run.value !== 1).map((run) =>
            `${run.start === run.end ? run.start : `${run.start}-${run.end}`}@${run.value}`);
        return items.join(",") || "BASE@1";
    }

    static #filled(value) {
        return Object.fromEntries(RimoBlockWeights.BLOCKS.map((block) => [block, value]));
    }

    static #number(text) {
        text = RimoBlockWeights.trimmed(text);
        const number = RimoBlockWeights.NUMBER.test(text) ? Number(text) : NaN;
        return Number.isFinite(number) ? number + 0 : null;
    }

    static #parseVector(text, inherited) {
        const words = text.split(",");
        const layout = RimoBlockWeights.LAYOUTS[words.length];
        if (!layout) return null;
        const parsed = words.map((word) => RimoBlockWeights.parseValue(word, inherited));
        if (parsed.includes(null)) return null;
        const values = RimoBlockWeights.#filled(0);
        layout.forEach((block, index) => (values[block] = parsed[index]));
        return new RimoBlockWeights(values, words.length);
    }

    static #parseSparse(text, inherited) {
        const values = RimoBlockWeights.#filled(1);
        const items = text.split(",");
        if (items.length > RimoBlockWeights.MOST_VALUES) return null;
        for (const item of items) {
            const at = item.indexOf("@");
            const value = at < 0 ? null : RimoBlockWeights.parseValue(item.slice(at + 1), inherited);
            const blocks = at < 0 ? null : RimoBlockWeights.#blocksNamed(item.slice(0, at));
            if (value === null || !blocks?.length) return null;
            for (const block of blocks) values[block] = value;
        }
        return new RimoBlockWeights(values, null);
    }

    /** The blocks of `IN04-IN08 M00` or `NOT OUT03-OUT11`; null where one does not exist. */
    static #blocksNamed(text) {
        const words = text.split(/[ \t\r\n]+/).filter(Boolean);
        const negated = words[0]?.toUpperCase() === "NOT";
        const chosen = new Set();
        for (const word of negated ? words.slice(1) : words) {
            if (/^(IN|OUT)$/i.test(word)) {
                RimoBlockWeights[word.toUpperCase()].forEach((block) => chosen.add(block));
                continue;
            }
            const ends = word.split("-").map(RimoBlockWeights.#position);
            if (ends.includes(-1)) return null;
            RimoBlockWeights.BLOCKS.slice(Math.min(...ends), Math.max(...ends) + 1)
                .forEach((block) => chosen.add(block));
        }
        if (!chosen.size) return null;
        return RimoBlockWeights.BLOCKS.filter((block) => chosen.has(block) !== negated);
    }

    static #position(name) {
        name = name.toUpperCase();
        if (name === "MID" || name === "M0") name = "M00";
        const found = /^(IN|OUT)(\d\d?)$/.exec(name);
        if (found) name = found[1] + found[2].padStart(2, "0");
        return RimoBlockWeights.BLOCKS.indexOf(name);
    }
}
