"""The Train tab: an empty container that `javascript/rimo_train.js` fills.

Like the block weights panel it lives in the browser, so that it is the same in every version of
Gradio, and asks through one event, behind the host's own login.
"""

import json
from html import escape
from typing import Any

import gradio as gr

from lib_rimo.ui.access import asked_from_elsewhere
from lib_rimo.ui.gradio_compat import for_visitors, run_url
from lib_rimo.ui.replies import refusal
from lib_rimo.ui.train_server import TrainServer

API_NAME = "rimo_train"
TITLE = "LoRA (Rimo)"


def render_train_tab(server: TrainServer) -> None:
    """Add the tab's content, to be called where components are made."""
    gr.HTML(
        f'<div class="rimo-train" data-run="{escape(run_url(API_NAME))}"></div>',
        elem_id="rimo_train",
    )
    request, reply = gr.Textbox(visible=False), gr.Textbox(visible=False)
    button = gr.Button(visible=False)
    for component in (request, reply, button):
        component.do_not_save_to_config = True  # the WebUI's file of interface defaults
    answer = for_visitors(server.answer, _refuse)
    button.click(answer, request, reply, api_name=API_NAME, queue=False)


def _refuse(visitor: Any) -> str | None:
    fault = asked_from_elsewhere(visitor)
    return None if fault is None else json.dumps(refusal(fault))
