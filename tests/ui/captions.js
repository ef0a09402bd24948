// Changes captions as the page does, by a seed: writes what went wrong, nothing where all is well.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const scripts = path.join(__dirname, "..", "..", "javascript");
const names = ["rimo_page", "rimo_train_outbox", "rimo_train_captions", "rimo_tag_field"];
const source = names.map((name) => fs.readFileSync(path.join(scripts, `${name}.js`), "utf8")).join("\n");
const {Outbox, Captions, BooruTags} = vm.runInNewContext(
    `${source}\n({Outbox: RimoTrainOutbox, Captions: RimoTrainCaptions, BooruTags: RimoBooruTags})`,
    {window: {}, setTimeout: (again) => setImmediate(again), clearTimeout: clearImmediate},
);

/** A generator of numbers from 0 up to `below`, the same for a seed (mulberry32). */
function randomFrom(seed) {
    let state = seed;
    return (below) => {
        state = (state + 0x6d2b79f5) | 0;
        let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
        mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
        return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
    };
}

class Memory {
    values = new Map();
    get(name) { return this.values.get(name); }
    set(name, value) { this.values.set(name, JSON.parse(JSON.stringify(value))); }
}

async function changeByChance(seed) {
    const random = randomFrom(seed);
    const files = new Map([1, 2, 3, 4].map((number) => [`${number}.png`, `tag ${number}, shared`]));
    const asPictures = () => [...files].map(([name, caption]) => ({name, caption, left_out: null}));
    const begin = JSON.stringify([...files]);
    const memory = new Memory();
    const server = {
        async ask(what, {name, caption}) {
            if (random(3) === 0) throw Object.assign(new Error("gone"), {isGone: true});
            files.set(name, caption);
            return {};
        },
    };
    const callbacks = {onSent: () => {}, onTrouble: () => {}, onGone: () => {}};
    let outbox = new Outbox(server, memory, callbacks);
    const captions = new Captions(outbox, () => {});
    captions.take({set: "set", pictures: asPictures()});
    const wanted = () => JSON.stringify(captions.pictures.map(({name, caption}) => [name, caption]));
    const editors = [null, null, "one field", "another"];
    const states = [wanted()];
    for (let step = 0; step < 60; step += 1) {
        const what = random(8);
        if (what === 0) captions.undo();
        else if (what === 1) captions.redo();
        else {
            // A field belongs to one picture; without one, some or all change at once.
            const editor = editors[random(editors.length)];
            const chosen = editor ? [captions.pictures[editor === "another" ? 1 : 0]]
                : captions.pictures.filter(() => random(2));
            captions.change(new Map(chosen.map(({name}) => [name, `step ${step}, ${random(5)}`])), `${step}`, editor);
        }
        states.push(wanted());
        if (random(4) === 0) await new Promise(setImmediate);
    }
    const end = wanted();
    let [undone, redone] = [0, 0];
    for (; captions.nextUndo; undone += 1) captions.undo();
    if (wanted() !== begin) return `seed ${seed}: undoing all gives ${wanted()}`;
    for (; captions.nextRedo; redone += 1) captions.redo();
    if (undone > redone) return `seed ${seed}: ${undone} steps undone, ${redone} done again`;
    for (; redone > undone; redone -= 1) captions.undo();
    if (wanted() !== end) return `seed ${seed}: doing all again gives ${wanted()}, not ${end}`;
    if (random(2)) {
        // The page is closed: another one finds what was not sent.
        outbox = new Outbox(server, memory, callbacks);
    }
    for (let patience = 200; outbox.waiting.size && patience; patience -= 1) {
        await outbox.send();
        await new Promise(setImmediate);
    }
    const reached = JSON.stringify([...files]);
    return reached === wanted() ? "" : `seed ${seed}: files have ${reached}, the page ${wanted()}`;
}

async function main() {
    const {seeds, proposals} = JSON.parse(fs.readFileSync(0, "utf8"));
    const faults = [];
    for (const seed of seeds) faults.push(await changeByChance(seed));
    const booru = new BooruTags({});
    booru.tags = proposals.common;
    const proposed = proposals.typed.map((typed) =>
        booru.propose(typed, new Map(proposals.own), 4).map(({tag}) => tag));
    process.stdout.write(JSON.stringify({faults: faults.filter(Boolean), proposed}));
}

main();
