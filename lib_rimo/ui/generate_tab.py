"""A small Generate tab for when there is no WebUI: prompt, block weights, X/Y/Z, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.hosts.standalone import Standalone
from lib_rimo.inference.grid import AXIS_NAMES, axes_infotext, cells, draw_grid, parse_axis
from lib_rimo.inference.infotext import Settings, format_infotext, parse_size
from lib_rimo.inference.sampling import SAMPLERS
from lib_rimo.messages import Message
from lib_rimo.sd.native import native_of
from lib_rimo.text import parse_json
from lib_rimo.ui.page_head import texts_for
from lib_rimo.ui.panel import TITLE, render_panel

NOTHING = "Nothing"
Say = Callable[[str], Any]
"""Makes a label that the page shows in the reader's language."""
Drawn = tuple[list[tuple[Image.Image, str]], str, list[Message]]
"""Pictures with what each was drawn from, the first one's infotext, and messages."""
Shown = tuple[list[tuple[Image.Image, str]], str, str]
"""The same with the messages as Markdown in the reader's language."""


def render_generate_tab(host: Standalone, say: Say) -> None:
    """Add the tab's content, to be called where components are made."""
    models = _choices(host)
    with gr.Row():
        with gr.Column():
            prompt = gr.Textbox(
                label=say("Prompt"),
                lines=3,
                elem_id="rimo_prompt",
                placeholder="1girl, <lora:rimochan:1>",
            )
            negative = gr.Textbox(label=say("Negative prompt"), lines=1, elem_id="rimo_neg_prompt")
            render_panel("generate", host, prompt="#rimo_prompt textarea", title=say(TITLE))
            model = gr.Dropdown(
                elem_id="rimo_model",
                label=say("Model"),
                choices=models,
                value=models[0][1] if models else None,
            )
            with gr.Row():
                steps = gr.Slider(1, 100, 20, step=1, label=say("Steps"), elem_id="rimo_steps")
                scale = gr.Slider(
                    1, 20, 7, step=0.5, label=say("CFG scale"), elem_id="rimo_cfg_scale"
                )
            with gr.Row():
                size = gr.Textbox(
                    _size(models[0][1] if models else None),
                    label=say("Size"),
                    elem_id="rimo_size",
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
            gallery = gr.Gallery(
                show_label=False,
                columns=2,
                format="png",
                height="auto",
                object_fit="contain",
                elem_id="rimo_drawn",
            )
            messages = gr.Markdown()
            infotext = gr.Textbox(label=say("Drawn from"), lines=3, interactive=False)
    # Filled in by the Train tab's Try it; hidden by the style sheet, for the script has to find it.
    trial = gr.Textbox(elem_id="rimo_try", container=False, show_label=False, label=say("Try it"))
    trial.input(partial(_try, host), trial, [model, size, trial])
    model.focus(lambda: gr.update(choices=_choices(host)), None, model)
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


def _choices(host: Standalone) -> list[tuple[str, str]]:
    """The models that there are by now: title and file."""
    return [(found.title, str(found.path)) for found in host.base_models()]


def _try(host: Standalone, asked: str) -> tuple[Any, Any, str]:
    """Choose the model and the size that a LoRA was trained with."""
    try:
        wanted = parse_json(asked)
        base, drawn = str(wanted["base"]), str(wanted["size"])
    except (ValueError, KeyError, TypeError):
        return gr.update(), gr.update(), ""
    choices = _choices(host)
    known = any(path == base for _, path in choices)
    if not known and Path(base).is_file() and host.open_folders() is None:
        choices.append((Path(base).stem, base))
        known = True
    chosen = gr.update(choices=choices, value=base) if known else gr.update(choices=choices)
    return chosen, drawn, ""


def _size(model: str | None) -> str:
    """The size of pictures that a model was made for."""
    try:
        width, height = native_of(Path(model or "")).size
    except UserError:  # said when it is drawn with
        width, height = 512, 512
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
