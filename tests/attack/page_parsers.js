// Times the panel's parsers: {name: [texts]} from standard input; {name: [seconds]} out.
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

function seconds(text) {
    const begin = process.cpuUsage();
    RimoLoraTag.findAll(text);
    RimoBlockWeights.parse(text);
    RimoBlockWeights.parseValue(text);
    return process.cpuUsage(begin).user / 1e6;
}

const texts = JSON.parse(fs.readFileSync(0, "utf8"));
const times = Object.entries(texts).map(([name, long]) => [name, long.map(seconds)]);
process.stdout.write(JSON.stringify(Object.fromEntries(times)));
