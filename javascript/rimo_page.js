"use strict";

/** Making a page's elements, with texts in the reader's language. */
class RimoPage {
    /** A text in the page's language; `{name}` in it is replaced by the value of that name. */
    static say(text, values = {}) {
        const translated = window.localization?.[text] || text;
        return translated.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
    }

    /**
     * What the server says, in the page's language: a translated text with `{name}`s stands for all
     * of its form, and a sentence may be followed by others. What is not translated stays as it is.
     */
    static told(sentences) {
        if (!sentences || !window.localization) return sentences;
        if (window.localization[sentences]) return window.localization[sentences];
        for (const {pattern, translated} of RimoPage.#forms()) {
            const {rest, ...values} = pattern.exec(sentences)?.groups || {rest: null};
            if (rest === null) continue;
            for (const name in values) values[name] = RimoPage.told(values[name]);
            const text = translated.replace(/\{(\w+)\}/g, (_, name) => values[name]);
            return [text, RimoPage.told(rest.trim())].filter(Boolean).join(" ");
        }
        return sentences;
    }

    static #forms() {
        RimoPage.forms ||= Object.entries(window.localization)
            .sort(([one], [other]) => other.replace(/\{\w+\}/g, "").length - one.replace(/\{\w+\}/g, "").length)
            .map(([text, translated]) => {
                const quoted = text.replace(/[\\^$.*+?()[\]|]/g, "\\$&");
                const holes = quoted.replace(/\{(\w+)\}/g, "(?<$1>.+?)");
                const rest = text.endsWith(".") ? "$| .*" : "$";
                return {pattern: new RegExp(`^${holes}(?<rest>${rest})`, "s"), translated};
            });
        return RimoPage.forms;
    }

    /** An element of a class, with properties and children. */
    static make(kind, className, properties = {}, ...children) {
        const element = Object.assign(document.createElement(kind), {className, ...properties});
        element.append(...children);
        return element;
    }

    static button(label, title, onClick, className = "") {
        const button = RimoPage.make("button", `rimo-button ${className}`, {
            type: "button", textContent: RimoPage.say(label), title: RimoPage.say(title),
        });
        button.addEventListener("click", onClick);
        return button;
    }

    /** A numbered part of a page with a heading. */
    static card(title, ...children) {
        const {make, say} = RimoPage;
        return make("section", "rimo-card", {},
            make("h3", "", {textContent: say(title)}), ...children);
    }

    /** A labelled input. */
    static labelled(text, input, help = "") {
        const {make, say} = RimoPage;
        const label = make("label", "rimo-field", {},
            make("span", "rimo-label", {textContent: say(text)}), input);
        if (help) label.append(make("small", "", {textContent: say(help)}));
        return label;
    }

    /** Seconds as people say them. */
    static duration(seconds) {
        const {say} = RimoPage;
        if (seconds < 90) return say("{n} s", {n: Math.max(1, Math.round(seconds))});
        if (seconds < 5400) return say("{n} min", {n: Math.round(seconds / 60)});
        return say("{n} h", {n: (seconds / 3600).toFixed(1)});
    }
}
