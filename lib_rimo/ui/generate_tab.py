"""A small Generate tab for when there is no WebUI: prompt, block weights, X/Y/Z, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.hosts.standalone import Standalone
from lib_rimo.hosts.training import base_model
from lib_rimo.inference.grid import AXIS_NAMES, axes_infotext, cells, draw_grid, parse_axis
from lib_rimo.inference.infotext import Settings, format_infotext, parse_size
from lib_rimo.inference.sampling import SAMPLERS
from lib_rimo.messages import Message
from lib_rimo.ui.page_head import texts_for
from lib_rimo.ui.panel import render_panel

NOTHING = "Nothing"
Say = Callable[[str], Any]
"""Makes a label that the page shows in the reader's language."""
Drawn = tuple[list[tuple[Image.Image, str]], str, list[Message]]
"""Pictures with what each was drawn from, the first one's infotext, and messages."""
Shown = tuple[list[tuple[Image.Image, str]], str, str]
"""The same with the messages as Markdown in the reader's language."""


def render_generate_tab(host: Standalone, say: Say) -> None:
    """Add the tab's content, to be called where components are made."""
    models = host.base_models()
    with gr.Row():
        with gr.Column():
            prompt = gr.Textbox(
                label=say("Prompt"),
                lines=3,
                elem_id="rimo_prompt",
                placeholder="1girl, <lora:rimochan:1>",
            )
            negative = gr.Textbox(label=say("Negative prompt"), lines=1, elem_id="rimo_neg_prompt")
            render_panel("generate", host, prompt="#rimo_prompt textarea")
            model = gr.Dropdown(
                elem_id="rimo_model",
                label=say("Model"),
                choices=[(found.title, str(found.path)) for found in models],
            )
            with gr.Row():
                steps = gr.Slider(1, 100, 20, step=1, label=say("Steps"), elem_id="rimo_steps")
                scale = gr.Slider(
                    1, 20, 7, step=0.5, label=say("CFG scale"), elem_id="rimo_cfg_scale"
                )
            with gr.Row():
                size = gr.Textbox(
                    _size(models[0].path if models else ""), label=say("Size"), elem_id="rimo_size"
                )
                seed = gr.Number(1, label=say("Seed"), precision=0)
                sampler = gr.Dropdown(
                    list(SAMPLERS),
                    value=next(iter(SAMPLERS)),
                    label=say("Sampler"),
                    elem_id="rimo_sampling",
                )
            with gr.Accordion(say("X/Y/Z plot"), open=False):
                axes = [field for letter in "XYZ" for field in _axis(letter, say)]
        with gr.Column():
            button = gr.Button(say("Generate"), variant="primary")
            gallery = gr.Gallery(show_label=False, columns=2, format="png", height="auto")
            messages = gr.Markdown()
            infotext = gr.Textbox(label=say("Drawn from"), lines=3, interactive=False)
    model.input(_size, model, size)
    inputs = [prompt, negative, model, steps, scale, size, seed, sampler, *axes]

    # Gradio looks at the annotation for where to put the request.
    def generate(visitor: gr.Request, *fields: Any) -> Iterator[Shown]:
        translations = texts_for(visitor.headers.get("accept-language"))
        try:
            for pictures, text, told in _generate(host, *fields):
                yield pictures, text, _listed(told, translations)
        except UserError as error:
            raise gr.Error(_listed(error.messages, translations)) from error

    button.click(generate, inputs, [gallery, infotext, messages])


def _size(model: str | Path) -> str:
    """The size of pictures that a model was made for."""
    width, height = str(base_model(Path(model)).options.get("resolution", "512,512")).split(",")
    return f"{width}x{height}"


def _axis(letter: str, say: Say) -> list[Any]:
    with gr.Row():
        name = gr.Dropdown([NOTHING, *AXIS_NAMES], value=NOTHING, label=say(f"{letter} axis"))
        values = gr.Textbox(label=say("Values"), placeholder="0.4, 0.7, 1")
    return [name, values]


def _generate(
    host: Standalone,
    prompt: str,
    negative: str,
    model: str | None,
    steps: float,
    scale: float,
    size: str,
    seed: float,
    sampler: str,
    *axes: str,
) -> Iterator[Drawn]:
    """Draw one picture or all of a plot, showing each as it comes; a plot's grid comes first."""
    if not model:
        raise UserError("Choose a model; put .safetensors files into the folder of models.")
    width, height = parse_size(size)
    settings = Settings(
        prompt=prompt,
        negative_prompt=negative,
        steps=int(steps),
        cfg_scale=scale,
        seed=int(seed),
        sampler=sampler,
        width=width,
        height=height,
    )
    yield from _draw(host, Path(model), settings, list(axes))


def _draw(host: Standalone, model: Path, settings: Settings, axes: list[str]) -> Iterator[Drawn]:
    presets = host.presets()
    chosen = [
        parse_axis(name, values, presets)
        for name, values in zip(axes[::2], axes[1::2], strict=True)
        if name != NOTHING
    ]
    generator = host.generator(model)
    pictures = []
    for cell in cells(settings, chosen, presets):
        with host.drawing:
            pictures.append(next(generator.draw(cell)))
        shown = [(picture.image, picture.infotext) for picture in pictures]
        yield shown, pictures[0].infotext, host.take_messages()
    if chosen:
        labels = [axis.labels for axis in chosen] + [("",)] * (3 - len(chosen))
        text = format_infotext(settings, axes_infotext(chosen))
        grid = draw_grid([picture.image for picture in pictures], *labels)
        yield [(grid, text), *shown], text, []


def _listed(messages: Sequence[Message], translations: Mapping[str, str]) -> str:
    sentences = [message.text(translations) for message in messages]
    return sentences[0] if len(sentences) == 1 else "\n".join(f"- {text}" for text in sentences)
