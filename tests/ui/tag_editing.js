// Reads tags as the panel does: [{text, presets, block, value}, ...] from standard input; writes
// what it finds in each, and the prompt after moving one slider.
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

function look({text, presets, block, value}) {
    const [tag] = RimoLoraTag.findAll(text, presets);
    if (!tag) return null;
    const plain = RimoBlockWeights.plain(26);
    const weights = tag.blocksText === null ? plain : tag.blocks;
    return {
        name: tag.name,
        strengths: [tag.te, tag.unet],
        hasBlocks: tag.blocksText !== null,
        values: tag.blocks?.values ?? null,
        edited: weights && tag.editIn(text, weights.with(block, value).write()),
        reset: tag.editIn(text, null),
    };
}

const examples = JSON.parse(fs.readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(examples.map(look)));
