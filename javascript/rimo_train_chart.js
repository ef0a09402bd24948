"use strict";

/** A loss curve, raw and smoothed, with the learning rate. */
class RimoTrainChart {
    static WIDTH = 600;
    static HEIGHT = 180;
    static LINES = ["raw", "smooth", "rate", "fit", "drift"];

    constructor() {
        const {make, say} = RimoPage;
        const svg = "http://www.w3.org/2000/svg";
        this.svg = document.createElementNS(svg, "svg");
        this.svg.setAttribute("viewBox", `0 0 ${RimoTrainChart.WIDTH} ${RimoTrainChart.HEIGHT}`);
        this.svg.setAttribute("preserveAspectRatio", "none");
        this.lines = {};
        for (const name of RimoTrainChart.LINES) {
            this.lines[name] = document.createElementNS(svg, "path");
            this.lines[name].setAttribute("class", `rimo-line-${name}`);
            this.svg.append(this.lines[name]);
        }
        this.top = make("span", "rimo-axis rimo-axis-top");
        this.bottom = make("span", "rimo-axis rimo-axis-bottom");
        this.rateTop = make("span", "rimo-axis rimo-axis-rate");
        this.end = make("span", "rimo-axis rimo-axis-end");
        this.readout = make("span", "rimo-readout");
        const legend = make("div", "rimo-legend", {},
            make("span", "rimo-key-raw", {textContent: say("loss")}),
            make("span", "rimo-key-smooth", {textContent: say("smoothed")}),
            make("span", "rimo-key-rate", {textContent: say("learning rate")}),
            this.keyFit = make("span", "rimo-key-fit", {textContent: say("fit")}),
            this.keyDrift = make("span", "rimo-key-drift", {textContent: say("drift")}),
            this.readout);
        this.plot = make("div", "rimo-plot", {}, this.top, this.bottom, this.rateTop, this.end);
        this.plot.prepend(this.svg);
        this.root = make("div", "rimo-chart", {}, this.plot, legend);
        this.plot.addEventListener("pointermove", (event) => this.#point(event));
        this.plot.addEventListener("pointerleave", () => { this.readout.textContent = ""; });
        this.clear();
    }

    clear() {
        this.points = [];
        this.signals = [];
        this.steps = this.range = 1;
        this.#draw();
    }

    get lastStep() {
        return this.points.length ? this.points.at(-1)[0] : 0;
    }

    /** Add points [step, loss, smoothed loss, learning rate] of a run of that many steps. */
    add(points, steps) {
        if (points.length && points[0][0] <= this.lastStep) {
            this.points = this.points.filter((point) => point[0] < points[0][0]);
        }
        this.points.push(...points);
        this.steps = Math.max(1, steps);
        this.#draw();
    }

    /** Show fit and drift, [step, fit, drift], of the saved steps; both begin at 0. */
    mark(signals) {
        if (signals.length === this.signals.length) return;
        this.signals = signals;
        this.#draw();
    }

    #draw() {
        const {points} = this;
        this.root.hidden = points.length < 2;
        if (this.root.hidden) return;
        // Single steps may leave the picture: what matters is the smoothed curve.
        const sorted = points.map((point) => point[1]).sort((a, b) => a - b);
        const high = Math.max(sorted[Math.floor(sorted.length * 0.98)], ...this.#column(2));
        const low = Math.min(sorted[Math.floor(sorted.length * 0.02)], ...this.#column(2));
        const margin = (high - low || high || 1) * 0.08;
        this.low = Math.max(0, low - margin);
        this.high = high + margin;
        // Early on the first steps fill the plot, later the whole run does.
        this.range = Math.min(this.steps, Math.max(20, Math.ceil(this.lastStep * 1.3)));
        const rate = Math.max(...this.#column(3)) * 1.15 || 1;
        const scale = (value) => (this.high - value) / (this.high - this.low);
        this.#line("raw", (point) => scale(point[1]));
        this.#line("smooth", (point) => scale(point[2]));
        this.#line("rate", (point) => 1 - point[3] / rate);
        const most = Math.max(1, ...this.signals.map((signal) => signal[2]));
        const marks = [[0, 0, 0], ...this.signals];
        this.#line("fit", (signal) => 1 - signal[1] / most, marks);
        this.#line("drift", (signal) => 1 - signal[2] / most, marks);
        this.keyFit.hidden = this.keyDrift.hidden = !this.signals.length;
        this.top.textContent = this.high.toFixed(3);
        this.bottom.textContent = this.low.toFixed(3);
        this.rateTop.textContent = `lr ${points.at(-1)[3].toExponential(1)}`;
        this.end.textContent = RimoPage.say("step {n}", {n: this.range});
    }

    #column(index) {
        return this.points.map((point) => point[index]);
    }

    #line(name, height, points = this.points) {
        const {WIDTH, HEIGHT} = RimoTrainChart;
        const path = points.map((point) => {
            const y = Math.min(1, Math.max(0, height(point))) * HEIGHT;
            return `${(point[0] / this.range * WIDTH).toFixed(1)} ${y.toFixed(1)}`;
        });
        this.lines[name].setAttribute("d", `M${path.join("L")}`);
    }

    #point(event) {
        const box = this.plot.getBoundingClientRect();
        const step = (event.clientX - box.left) / box.width * this.range;
        let nearest = null;
        for (const point of this.points) {
            if (!nearest || Math.abs(point[0] - step) < Math.abs(nearest[0] - step)) nearest = point;
        }
        if (!nearest) return;
        const [at, loss, smooth, rate] = nearest;
        const signal = this.signals.findLast(([step]) => step <= at);
        const {say} = RimoPage;
        const measured = signal ? `; ${say("fit")} ${signal[1].toFixed(2)}, ${say("drift")} ${signal[2].toFixed(2)}` : "";
        this.readout.textContent = `${RimoPage.say("step {n}", {n: at})}: ${loss.toFixed(4)}, `
            + `${smooth.toFixed(4)}, lr ${rate.toExponential(2)}${measured}`;
    }
}
