"use strict";

/** One picture of a set, large: looked at, cropped, its mask corrected, thrown out; arrows go on. */
class RimoTrainViewer {
    /** Pixels on the screen below which a frame is a click. */
    static LEAST = 12;

    /** `onMask(picture)` is called when a picture's mask is another. */
    constructor(server, outbox, onMask) {
        const {make, say, button} = RimoPage;
        this.server = server;
        this.image = make("img", "", {alt: "", draggable: false});
        this.frame = make("div", "rimo-frame", {hidden: true});
        this.brush = new RimoTrainBrush(server, outbox, {onToggle: () => this.#show(), onSaved: onMask});
        this.stage = make("div", "rimo-stage", {}, this.image, this.brush.canvas, this.frame);
        new ResizeObserver(() => this.brush.place()).observe(this.image);
        this.title = make("strong", "rimo-viewer-title");
        this.caption = make("p", "rimo-hint");
        this.problem = make("p", "rimo-problem", {hidden: true, role: "alert"});
        this.crop = button("Crop to the frame", "Keep only what is inside; drag over the picture to draw a frame", () => this.#crop());
        this.out = button("Throw it out", "This picture is not trained on", () => this.#remove());
        this.zoom = button("Zoom", "Every pixel of the picture, to judge it by; scroll to move over it", () => this.#zoom(!this.isZoomed));
        this.hint = make("small", "", {textContent: say("Drag over the picture to draw a frame for cropping.")});
        this.root = make("dialog", "rimo-viewer", {ariaLabel: say("Picture")},
            make("div", "rimo-bar rimo-viewer-head", {}, this.title, this.zoom,
                button("‹", "The one before", () => this.#go(-1)),
                button("›", "The next one", () => this.#go(1)),
                button("Close", "Back to all pictures", () => this.root.close())),
            this.stage, this.hint, this.brush.root, this.caption, this.problem,
            make("div", "rimo-bar", {}, this.brush.toggle, this.crop, this.out));
        this.root.addEventListener("close", () => this.#zoom(false));
        this.root.addEventListener("keydown", (event) => {
            if (event.target.tagName === "INPUT" || this.brush.shortcut(event)) return;
            const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
            if (step) this.#go(step);
            if (event.key === "Delete" && !this.out.hidden) this.#remove();
        });
        this.root.addEventListener("click", (event) => {
            if (event.target === this.root) this.root.close(); // beside it
        });
        this.#followDrag();
    }

    /**
     * Show the picture at a place of a set. `source()` gives `{set, pictures}` as they are by now;
     * `onRemove(picture)` and `onCrop(reply)` are null where that is not allowed.
     */
    open(source, index, {onRemove = null, onCrop = null}) {
        Object.assign(this, {source, index, onRemove, onCrop});
        if (!this.root.open) this.root.showModal();
        this.#show();
    }

    async #show() {
        const {set, pictures} = this.source();
        if (!pictures.length) {
            this.root.close();
            return;
        }
        this.index = Math.max(0, Math.min(this.index, pictures.length - 1));
        const picture = pictures[this.index];
        this.frame.hidden = true;
        this.problem.hidden = true;
        this.crop.hidden = this.hint.hidden = !this.onCrop || this.brush.isOn || Boolean(picture.left_out);
        this.crop.disabled = true;
        this.out.hidden = !this.onRemove;
        this.title.textContent = `${picture.name}, ${picture.width}×${picture.height} · ${this.index + 1} / ${pictures.length}`;
        this.caption.textContent = picture.caption;
        this.image.alt = picture.name;
        this.image.src = picture.thumbnail || "data:,";
        await this.#try(async () => {
            const {picture: large} = await this.server.ask("picture", {set, name: picture.name});
            if (this.source().pictures[this.index] === picture) this.image.src = large;
            await this.brush.open(set, picture, this.image);
        });
    }

    #zoom(isZoomed) {
        this.isZoomed = isZoomed;
        this.zoom.ariaPressed = String(isZoomed);
        this.stage.classList.toggle("rimo-zoomed", isZoomed);
        this.frame.hidden = this.crop.disabled = true; // it is drawn in the picture's place on the screen
        this.image.style.width = isZoomed
            ? `${Math.max(this.image.naturalWidth, 2 * this.stage.clientWidth)}px` : "";
        this.brush.place();
    }

    #go(step) {
        const {length} = this.source().pictures;
        this.index = (this.index + step + length) % length;
        this.#show();
    }

    async #remove() {
        await this.#try(async () => {
            await this.onRemove(this.source().pictures[this.index]);
            await this.#show();
        });
    }

    async #crop() {
        const {set, pictures} = this.source();
        await this.#try(async () => {
            this.onCrop(await this.server.ask("crop", {set, name: pictures[this.index].name, box: this.box}));
            await this.#show();
        });
    }

    async #try(action) {
        try {
            await action();
        } catch (error) {
            this.problem.textContent = error.message;
            this.problem.hidden = false;
        }
    }

    /** Draw a frame along a drag; `box` is left, top, right, bottom in parts of the picture. */
    #followDrag() {
        let from = null;
        const place = (event) => {
            const area = this.image.getBoundingClientRect();
            const part = (value, low, size) => Math.max(0, Math.min(1, (value - low) / size));
            return [part(event.clientX, area.left, area.width), part(event.clientY, area.top, area.height)];
        };
        this.stage.addEventListener("pointerdown", (event) => {
            if (this.crop.hidden) return;
            from = place(event);
            this.stage.setPointerCapture(event.pointerId);
        });
        this.stage.addEventListener("pointermove", (event) => {
            if (!from) return;
            const to = place(event);
            const [left, right] = [from[0], to[0]].sort((a, b) => a - b);
            const [top, bottom] = [from[1], to[1]].sort((a, b) => a - b);
            this.box = [left, top, right, bottom];
            const area = this.image;
            Object.assign(this.frame.style, {
                left: `${area.offsetLeft + left * area.offsetWidth}px`,
                top: `${area.offsetTop + top * area.offsetHeight}px`,
                width: `${(right - left) * area.offsetWidth}px`,
                height: `${(bottom - top) * area.offsetHeight}px`,
            });
            const {LEAST} = RimoTrainViewer;
            const isFrame = (right - left) * area.offsetWidth > LEAST && (bottom - top) * area.offsetHeight > LEAST;
            this.frame.hidden = this.crop.disabled = !isFrame;
        });
        this.stage.addEventListener("pointerup", () => { from = null; });
    }
}
