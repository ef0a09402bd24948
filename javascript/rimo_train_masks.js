"use strict";

/** Masks of a set's pictures, laid over them: what is tinted is left out. */
class RimoTrainMasks {
    static TINT = [220, 38, 38];

    /** `onChange()` is called when they are to be shown, or no longer. */
    constructor(server, memory, onChange) {
        const {button} = RimoPage;
        Object.assign(this, {server, memory, onChange});
        this.known = new Map(); // picture -> the promise of its small mask
        this.last = Promise.resolve(); // asked for one after another: each takes a while
        this.isOn = memory.get("masks") === true;
        this.button = button("Show masks", "Tint what is taken for the background, where masks are used", () => {
            this.#show(!this.isOn);
        });
        this.#label();
    }

    #show(isOn) {
        this.isOn = isOn;
        this.memory.set("masks", isOn);
        this.#label();
        this.onChange();
    }

    /** Have the server write masks beside the pictures of a set that have none, and show them. */
    async find(set, button) {
        const {say} = RimoPage;
        button.disabled = true;
        button.textContent = say("Finding …");
        try {
            const {messages} = await this.server.askWithModel("find_masks", {set}, () => {
                button.textContent = say("Fetching …");
            }, (text) => {
                button.textContent = text;
            });
            this.known = new Map();
            this.#show(true);
            return messages;
        } finally {
            button.disabled = false;
            button.textContent = say("Find masks");
        }
    }

    #label() {
        this.button.textContent = RimoPage.say(this.isOn ? "Hide masks" : "Show masks");
        this.button.ariaPressed = String(this.isOn);
    }

    /** Lay a picture's mask over its tile, or say there why it has none. */
    async decorate(set, picture, tile) {
        if (!this.isOn || picture.left_out) return;
        const {make, text} = RimoPage;
        try {
            const {mask, messages} = await this.#small(set, picture);
            const doubts = mask ? messages.filter(({level}) => level === "warning") : messages;
            if (mask) tile.querySelector(".rimo-open").append(await RimoTrainMasks.tinted(mask));
            if (doubts.length) tile.querySelector(".rimo-open").after(make("small", "rimo-doubt", {textContent: text(doubts)}));
        } catch (error) {
            tile.querySelector(".rimo-open").after(make("small", "rimo-doubt", {textContent: error.message}));
        }
    }

    #small(set, picture) {
        if (!this.known.has(picture)) {
            const asked = this.last.then(() => this.server.ask("mask", {set, name: picture.name, is_small: true}));
            this.last = asked.catch(() => {});
            this.known.set(picture, asked);
        }
        return this.known.get(picture);
    }

    /** Ask anew when a picture's mask is wanted next. */
    forget(picture) {
        this.known.delete(picture);
    }

    /** A mask's address as a canvas: tinted and opaque where it is black, clear where it is white. */
    static async tinted(address) {
        const image = RimoPage.make("img", "", {src: address});
        await image.decode();
        const canvas = RimoPage.make("canvas", "rimo-mask", {width: image.naturalWidth, height: image.naturalHeight});
        const pen = canvas.getContext("2d");
        pen.drawImage(image, 0, 0);
        const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
        for (let place = 0; place < pixels.data.length; place += 4) {
            const outside = 255 - pixels.data[place];
            pixels.data.set([...RimoTrainMasks.TINT, outside], place);
        }
        pen.putImageData(pixels, 0, 0);
        return canvas;
    }

    /** What `tinted` was given: a mask in base64, white where the canvas is clear. */
    static content(canvas) {
        const copy = RimoPage.make("canvas", "", {width: canvas.width, height: canvas.height});
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        for (let place = 0; place < pixels.data.length; place += 4) {
            const inside = 255 - pixels.data[place + 3];
            pixels.data.set([inside, inside, inside, 255], place);
        }
        copy.getContext("2d").putImageData(pixels, 0, 0);
        return copy.toDataURL("image/png").split(",", 2)[1];
    }
}
