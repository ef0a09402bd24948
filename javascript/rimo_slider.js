"use strict";

/** A block's slider with its name and a field for exact values. */
class RimoSlider {
    static STEP = 0.05;

    /** @param {function(string, number|string)} onInput gets the block and its new value */
    constructor(block, title, onInput) {
        this.block = block;
        const {make} = RimoPage;
        this.range = make("input", "", {
            type: "range", min: 0, max: 2, step: RimoSlider.STEP, title, ariaLabel: block,
        });
        this.field = make("input", "rimo-text", {
            type: "text", inputMode: "decimal", spellcheck: false, autocomplete: "off", title,
            ariaLabel: block,
        });
        const name = make("span", "rimo-name", {textContent: block});
        this.element = make("div", "rimo-slider", {}, name, this.range, this.field);
        this.element.dataset.block = block;
        this.range.addEventListener("input", () => onInput(block, Number(this.range.value)));
        this.field.addEventListener("change", () => {
            const value = RimoBlockWeights.parseValue(this.field.value);
            if (value === null) this.show(this.value);
            else onInput(block, value);
        });
        name.addEventListener("dblclick", () => onInput(block, 1));
    }

    /** Show a value; `hasLayers` is false where the file has nothing in this block. */
    show(value, hasLayers = this.hasLayers) {
        this.value = value;
        this.hasLayers = hasLayers;
        const isRandom = typeof value === "string";
        const shown = isRandom ? 0.5 : value; // the middle of what can be drawn
        this.range.min = Math.min(0, Math.floor(shown));
        this.range.max = Math.max(2, Math.ceil(shown));
        this.range.value = shown;
        if (document.activeElement !== this.field || this.field.value !== String(value)) {
            this.field.value = String(value);
        }
        this.element.classList.toggle("rimo-random", isRandom);
        this.element.classList.toggle("rimo-changed", value !== 1);
        this.element.classList.toggle("rimo-empty", !hasLayers);
        this.range.disabled = this.field.disabled = !hasLayers;
    }
}
