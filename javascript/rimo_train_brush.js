"use strict";

/** The mask of the picture that is shown large: looked at, corrected with a brush, replaced. */
class RimoTrainBrush {
    /** `onToggle()` is called when it is shown or hidden, `onSaved(picture)` when a mask is another. */
    constructor(server, outbox, {onToggle, onSaved}) {
        Object.assign(this, {server, outbox, onToggle, onSaved});
        this.isOn = false;
        this.leavesOut = true;
        this.layers = null;
        this.#build();
    }

    #build() {
        const {make, say, button, labelled} = RimoPage;
        this.canvas = make("canvas", "rimo-mask rimo-brush", {hidden: true});
        this.toggle = button("Mask", "Tint what is taken for the background; correct it with a brush", () => {
            this.isOn = !this.isOn;
            this.onToggle();
        });
        this.toggle.ariaPressed = "false";
        this.out = button("Leave out", "Paint what is not to be learned", () => this.#choose(true));
        this.keep = button("Count", "Paint what is to be learned", () => this.#choose(false));
        this.size = make("input", "", {type: "range", min: 1, max: 25, value: 6});
        this.undo = button("Undo", "Take the last stroke back", () => this.#move("strokes", "undone"));
        this.redo = button("Redo", "Paint the stroke again", () => this.#move("undone", "strokes"));
        this.file = make("input", "", {type: "file", accept: "image/*", hidden: true});
        this.file.addEventListener("change", () => this.#replace());
        this.other = button("Use a file …", "A mask of the picture's shape: white counts, black is left out", () => this.file.click());
        this.anew = button("Find it anew", "Take the mask file away", () => this.#forget());
        this.tools = make("div", "rimo-bar rimo-brush-tools", {hidden: true},
            this.out, this.keep, labelled("Brush", this.size), this.undo, this.redo, this.other, this.anew, this.file);
        this.state = make("p", "rimo-hint", {role: "status", hidden: true});
        this.problem = make("p", "rimo-problem", {hidden: true, role: "alert"});
        this.root = make("div", "rimo-brush-box", {}, this.state, this.problem, this.tools);
        this.#followPen();
        this.#choose(true);
    }

    /** Show the mask of a picture over its `image`; none where masks are hidden. */
    async open(set, picture, image) {
        Object.assign(this, {set, picture, image});
        this.toggle.hidden = Boolean(picture.left_out);
        this.toggle.ariaPressed = String(this.isOn);
        this.toggle.textContent = RimoPage.say(this.isOn ? "Hide the mask" : "Mask");
        this.canvas.hidden = this.tools.hidden = this.state.hidden = true;
        this.problem.hidden = true;
        this.layers = null;
        if (!this.isOn || picture.left_out) return;
        await RimoPage.attempt(this.problem, async () => {
            await this.outbox.send(); // what was painted before
            await this.#show(await this.server.ask("mask", {set, name: picture.name}), picture);
        });
    }

    async #show(reply, picture) {
        const tinted = reply.mask ? await RimoTrainMasks.tinted(reply.mask) : RimoTrainBrush.#clear(picture);
        if (picture !== this.picture || !this.isOn) return; // gone on to another one meanwhile
        this.layers = {found: tinted, strokes: [], undone: []};
        Object.assign(this.canvas, {width: tinted.width, height: tinted.height, hidden: false});
        this.tools.hidden = !reply.can_edit;
        this.canvas.classList.toggle("rimo-editable", reply.can_edit);
        this.#tell(reply);
        this.#draw();
        await this.image.decode().catch(() => {});
        this.place();
    }

    static #clear({width, height}) {
        const scale = Math.min(1, 1600 / Math.max(width, height));
        return RimoPage.make("canvas", "", {width: Math.round(width * scale), height: Math.round(height * scale)});
    }

    #tell({messages, has_file: hasFile}) {
        this.state.textContent = RimoPage.text(messages);
        this.state.hidden = false;
        this.anew.hidden = !hasFile;
    }

    /** Lie where the image lies. */
    place() {
        if (this.canvas.hidden) return;
        const {offsetLeft, offsetTop, offsetWidth, offsetHeight} = this.image;
        Object.assign(this.canvas.style, {
            left: `${offsetLeft}px`, top: `${offsetTop}px`, width: `${offsetWidth}px`, height: `${offsetHeight}px`,
        });
    }

    #choose(leavesOut) {
        this.leavesOut = leavesOut;
        this.out.ariaPressed = String(leavesOut);
        this.keep.ariaPressed = String(!leavesOut);
    }

    #draw() {
        const pen = this.canvas.getContext("2d");
        const {found, strokes, undone} = this.layers;
        pen.globalCompositeOperation = "copy";
        pen.drawImage(found, 0, 0);
        for (const stroke of strokes) RimoTrainBrush.#paint(pen, stroke);
        this.undo.disabled = !strokes.length;
        this.redo.disabled = !undone.length;
    }

    static #paint(pen, {leavesOut, width, points}) {
        pen.globalCompositeOperation = leavesOut ? "source-over" : "destination-out";
        Object.assign(pen, {lineWidth: width, lineCap: "round", lineJoin: "round", strokeStyle: `rgb(${RimoTrainMasks.TINT})`});
        pen.beginPath();
        pen.moveTo(...points[0]);
        for (const point of points) pen.lineTo(...point);
        pen.stroke();
    }

    #followPen() {
        let stroke = null;
        const place = (event) => {
            const area = this.canvas.getBoundingClientRect();
            return [
                (event.clientX - area.left) / area.width * this.canvas.width,
                (event.clientY - area.top) / area.height * this.canvas.height,
            ];
        };
        this.canvas.addEventListener("pointerdown", (event) => {
            if (this.tools.hidden || !this.layers || event.button) return;
            const longest = Math.max(this.canvas.width, this.canvas.height);
            stroke = {leavesOut: this.leavesOut, width: longest * this.size.value / 100, points: [place(event)]};
            this.canvas.setPointerCapture(event.pointerId);
            RimoTrainBrush.#paint(this.canvas.getContext("2d"), stroke);
        });
        this.canvas.addEventListener("pointermove", (event) => {
            if (!stroke) return;
            stroke.points.push(place(event));
            RimoTrainBrush.#paint(this.canvas.getContext("2d"), {...stroke, points: stroke.points.slice(-2)});
        });
        for (const end of ["pointerup", "pointercancel"]) {
            this.canvas.addEventListener(end, () => {
                if (!stroke || !this.layers) return;
                this.layers.strokes.push(stroke);
                this.layers.undone = [];
                stroke = null;
                this.#draw();
                this.#save();
            });
        }
    }

    /** Take the last stroke back, or paint it again; nothing where there is none. */
    #move(from, to) {
        const stroke = this.layers?.[from].pop();
        if (!stroke) return;
        this.layers[to].push(stroke);
        this.#draw();
        this.#save();
    }

    /** Ctrl+Z and Ctrl+Y; whether a key was one of them. */
    shortcut(event) {
        const key = event.key.toLowerCase();
        if (!(event.ctrlKey || event.metaKey) || !this.layers || (key !== "z" && key !== "y")) return false;
        event.preventDefault();
        if (key === "y" || event.shiftKey) this.#move("undone", "strokes");
        else this.#move("strokes", "undone");
        return true;
    }

    /** Have the server keep the mask as it is by now. */
    #save() {
        const {set, picture} = this;
        this.problem.hidden = true;
        this.outbox.put(`${set}\n${picture.name}\nmask`, "set_mask",
            {set, name: picture.name, content: RimoTrainMasks.content(this.canvas)},
            {
                onReply: (reply) => {
                    if (picture === this.picture) this.#tell(reply);
                    this.onSaved(picture);
                },
                onRefused: (text) => RimoPage.complain(this.problem, text),
            });
    }

    async #replace() {
        const [file] = this.file.files;
        this.file.value = "";
        if (!file) return;
        const {set, picture} = this;
        await RimoPage.attempt(this.problem, async () => {
            const content = await RimoPage.base64(file);
            await this.#show(await this.server.ask("set_mask", {set, name: picture.name, content}), picture);
            this.onSaved(picture);
        });
    }

    async #forget() {
        const {set, picture} = this;
        await RimoPage.attempt(this.problem, async () => {
            await this.outbox.send();
            await this.#show(await this.server.ask("forget_mask", {set, name: picture.name}), picture);
            this.onSaved(picture);
        });
    }
}
