// Reads tags as the panel does, in node or in a page; after the two scripts whose classes it uses.
"use strict";

/** What the panel finds in a prompt, and the prompt after moving one slider. */
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

/** How long the parsers need for a text; of the processor's time where that can be asked for. */
function seconds(text) {
    const clock = typeof process === "undefined"
        ? () => performance.now() / 1e3
        : () => process.cpuUsage().user / 1e6;
    const begin = clock();
    RimoLoraTag.findAll(text);
    RimoBlockWeights.parse(text);
    RimoBlockWeights.parseValue(text);
    return clock() - begin;
}
