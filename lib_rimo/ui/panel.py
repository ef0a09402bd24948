"""The block weights panel: an empty container that `javascript/rimo_panel.js` fills.

The panel lives in the browser and acts on the prompt's text alone, so a picture costs nothing
more for it. Only presets, file facts and messages on tags are asked for, through one event.
"""

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from lib_rimo.ui.access import asked_from_elsewhere
from lib_rimo.ui.gradio_compat import for_visitors, run_url
from lib_rimo.ui.panel_server import PanelHost, answer, refusal

API_NAME = "rimo_panel"
TITLE = "Rimo block weights"


def render_panel(tab: str, host: PanelHost, prompt: str = "", title: Any = TITLE) -> None:
    """Add the panel of a tab ("txt2img", "img2img"), to be called where components are made.

    `prompt` is a CSS selector of the prompt's text area, by default the WebUI's own; a WebUI itself
    shows `title` in the reader's language.
    """
    prompt = prompt or f"#{tab}_prompt textarea"
    with gr.Accordion(title, open=False, elem_id=f"rimo_panel_{tab}"):
        gr.HTML(
            f'<div class="rimo-panel" data-prompt="{escape(prompt)}" '
            f'data-run="{escape(run_url(API_NAME))}"></div>'
        )
        if tab != "img2img":  # one event serves both tabs
            _add_event(host)


def _add_event(host: PanelHost) -> None:
    """Make `answer` callable by the page, behind the host's own login."""
    request, reply = gr.Textbox(visible=False), gr.Textbox(visible=False)
    button = gr.Button(visible=False)
    for component in (request, reply, button):
        component.do_not_save_to_config = True  # the WebUI's file of interface defaults
    visited = for_visitors(partial(answer, host), _refuse)
    button.click(visited, request, reply, api_name=API_NAME, queue=False)


def _refuse(visitor: Any) -> str | None:
    fault = asked_from_elsewhere(visitor)
    return None if fault is None else refusal(fault)
