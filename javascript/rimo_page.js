"use strict";

/** Making a page's elements, with texts in the reader's language. */
class RimoPage {
    /** A text of the page in the reader's language; `{name}` in it becomes the value of that name. */
    static say(template, values = {}) {
        const translated = window.localization?.[template] || template;
        return translated.replace(/\{(\w+)\}/g, (hole, name) =>
            Object.hasOwn(values, name) ? RimoPage.#value(values[name]) : hole);
    }

    /** What the server tells, a message or several, in the reader's language. */
    static text(messages) {
        return [messages].flat().filter(Boolean).map(RimoPage.#value).join(" ");
    }

    /** Text, a number, a message, or a list of these; see `lib_rimo/messages.py`. */
    static #value(value) {
        if (Array.isArray(value)) return value.map(RimoPage.#value).join(", ");
        return value?.template === undefined ? String(value) : RimoPage.say(value.template, value.values);
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

    /** Do something; what goes wrong is said in `problem`, in place of what was said before. */
    static async attempt(problem, action) {
        problem.hidden = true;
        try {
            await action();
        } catch (error) {
            RimoPage.complain(problem, error.message);
        }
    }

    /** Say in `problem` what is wrong. */
    static complain(problem, text) {
        problem.textContent = text;
        problem.hidden = false;
    }

    /** A file's content in base64. */
    static base64(file) {
        return new Promise((resolve, reject) => {
            const reader = new FileReader();
            reader.onload = () => resolve(reader.result.split(",", 2)[1] || "");
            reader.onerror = () => reject(reader.error);
            reader.readAsDataURL(file);
        });
    }

    /** An option's value as it is written in a field. */
    static number(value) {
        if (value === null || value === undefined) return "";
        if (Array.isArray(value)) return value.join(" ");
        // 5e-05 reads better than 0.00005
        if (typeof value === "number" && value !== 0 && Math.abs(value) < 1e-3) return value.toExponential();
        return String(value);
    }

    /** Seconds as people say them. */
    static duration(seconds) {
        const {say} = RimoPage;
        if (seconds < 90) return say("{n} s", {n: Math.max(1, Math.round(seconds))});
        if (seconds < 5400) return say("{n} min", {n: Math.round(seconds / 60)});
        return say("{n} h", {n: (seconds / 3600).toFixed(1)});
    }
}
