// Times the panel's parsers: {name: [texts]} from standard input; {name: [milliseconds]} out.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const scripts = path.join(__dirname, "..", "..", "javascript");
const source = ["rimo_block_weights.js", "rimo_lora_tag.js"]
    .map((name) => fs.readFileSync(path.join(scripts, name), "utf8"))
    .join("\n");
const {RimoBlockWeights, RimoLoraTag} = vm.runInNewContext(
    `${source}\n({RimoBlockWeights, RimoLoraTag})`,
);

function milliseconds(text) {
    let best = Infinity;
    for (let time = 0; time < 3; time++) {
        const begin = process.hrtime.bigint();
        RimoLoraTag.findAll(text);
        RimoBlockWeights.parse(text);
        RimoBlockWeights.parseValue(text);
        best = Math.min(best, Number(process.hrtime.bigint() - begin) / 1e6);
    }
    return best;
}

const texts = JSON.parse(fs.readFileSync(0, "utf8"));
const times = Object.entries(texts).map(([name, long]) => [name, long.map(milliseconds)]);
process.stdout.write(JSON.stringify(Object.fromEntries(times)));
