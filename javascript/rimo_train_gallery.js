"use strict";

/**
 * Pictures in a grid, of which one at a time is in the order of tabs: arrows go to the others, Enter
 * shows one large, Delete throws it out. Of many only the first are there until all are asked for.
 */
class RimoTrainGallery {
    static FIRST = 24;

    /**
     * `onShow(index)` shows a picture large; `onRemove()` gives what throws one out, or null where
     * none may be; `onTile(picture, tile)` may add to a tile.
     */
    constructor({label, className = "", onShow, onRemove, onTile = null}) {
        const {make, say} = RimoPage;
        this.onShow = onShow;
        this.onRemove = onRemove;
        this.onTile = onTile;
        this.current = 0;
        this.isOpen = false;
        this.grid = make("div", `rimo-gallery ${className}`, {role: "group", ariaLabel: say(label)});
        this.more = RimoPage.button("Show all", "Show all pictures", () => {
            this.isOpen = true;
            this.#draw();
        });
        this.root = make("div", "rimo-gallery-box", {}, this.grid, this.more);
        this.grid.addEventListener("keydown", (event) => this.#key(event));
        this.grid.addEventListener("focusin", (event) => {
            const index = [...this.grid.children].findIndex((tile) => tile.contains(event.target));
            if (index >= 0) this.#setCurrent(index);
        });
    }

    /** Show pictures; `below(picture)` makes what stands under each, if anything does. */
    show(pictures, below = () => null) {
        this.pictures = pictures;
        this.below = below;
        this.#draw();
    }

    /** Make what stands under one picture anew. */
    update(picture) {
        const index = this.pictures.indexOf(picture);
        if (index < 0) return; // not among those shown
        this.grid.children[index]?.replaceWith(this.#tile(picture, index));
        this.#setCurrent(this.current);
    }

    #draw() {
        const {say} = RimoPage;
        const many = this.pictures.length > RimoTrainGallery.FIRST && !this.isOpen;
        const shown = many ? this.pictures.slice(0, RimoTrainGallery.FIRST) : this.pictures;
        this.more.hidden = !many;
        this.more.textContent = say("Show all {n}", {n: this.pictures.length});
        const hadFocus = this.grid.contains(document.activeElement);
        this.grid.replaceChildren(...shown.map((picture, index) => this.#tile(picture, index)));
        this.#setCurrent(Math.max(0, Math.min(this.current, shown.length - 1)));
        if (hadFocus) this.grid.children[this.current]?.querySelector(".rimo-open").focus();
    }

    #tile(picture, index) {
        const {make, say} = RimoPage;
        const name = `${picture.name}, ${picture.width}×${picture.height}`;
        const open = make("button", "rimo-open", {
            type: "button", title: [name, picture.caption].filter(Boolean).join("\n"),
            ariaLabel: say("{name}: show it large", {name}),
        }, make("img", "", {src: picture.thumbnail || "data:,", alt: "", loading: "lazy"}));
        open.addEventListener("click", () => this.onShow(index));
        const tile = make("figure", "rimo-tile", {}, open);
        const below = this.below(picture);
        if (below) tile.append(below);
        if (this.onRemove()) {
            const cross = RimoPage.button("×", "Throw this picture out", () => this.onRemove()(picture), "rimo-cross");
            cross.tabIndex = -1; // the Delete key does the same
            cross.ariaLabel = say("Throw {name} out", {name: picture.name});
            tile.append(cross);
        }
        this.onTile?.(picture, tile);
        return tile;
    }

    #setCurrent(index) {
        this.current = index;
        for (const [place, tile] of [...this.grid.children].entries()) {
            for (const part of tile.querySelectorAll(".rimo-open, .rimo-chips input, textarea")) {
                part.tabIndex = place === index ? 0 : -1;
            }
        }
    }

    #key(event) {
        if (!event.target.classList.contains("rimo-open")) return;
        const columns = getComputedStyle(this.grid).gridTemplateColumns.split(" ").length;
        const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns}[event.key];
        if (step) {
            event.preventDefault();
            this.grid.children[this.current + step]?.querySelector(".rimo-open").focus();
        } else if (event.key === "Delete" && this.onRemove()) {
            event.preventDefault();
            this.onRemove()(this.pictures[this.current]);
        }
    }
}
