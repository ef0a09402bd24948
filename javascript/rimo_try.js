"use strict";

/** Going where pictures are made, with a LoRA's prompt, the model and the size that it was trained on. */
class RimoTry {
    static async go({prompt, base, size}) {
        const page = gradioApp();
        if (typeof switch_to_txt2img === "function") switch_to_txt2img();
        else [...page.querySelectorAll("button[role=tab]")].find((tab) => tab.textContent.trim() === RimoPage.say("Generate"))?.click();
        let area = null;
        while (!(area = page.querySelector("#txt2img_prompt textarea, #rimo_prompt textarea"))) {
            await new Promise((resolve) => setTimeout(resolve, 50)); // Gradio makes a tab when it is opened
        }
        RimoTry.#fill(area, prompt);
        const ours = page.querySelector("#rimo_try textarea, #rimo_try input");
        if (ours) {
            RimoTry.#fill(ours, JSON.stringify({base: base.path, size}));
            return;
        }
        const [width, height] = size.split("x");
        for (const [side, value] of [["width", width], ["height", height]]) {
            const input = page.querySelector(`#txt2img_${side} input[type=number]`);
            if (input) RimoTry.#fill(input, value);
        }
        // AUTOMATIC1111 and Forge: the checkpoint, where the WebUI lists it and another one is chosen.
        if (base.listed && typeof selectCheckpoint === "function") selectCheckpoint(base.listed);
    }

    static #fill(input, value) {
        input.value = value;
        input.dispatchEvent(new Event("input", {bubbles: true}));
    }
}
