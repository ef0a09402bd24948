"""Serves the Train tab as a WebUI has it, on the Gradio of whoever runs this.

    python -m tests.ui.gradio_page HOME PORT PYTHON

A WebUI's tabs, its way of putting scripts into the page and its prompt, around our own tab;
trainings run with PYTHON.
"""

import sys
from pathlib import Path

import gradio as gr
import gradio.routes
from PIL import Image

from lib_rimo.hosts.standalone import Standalone
from lib_rimo.ui.page_head import head
from lib_rimo.ui.train_server import TrainServer
from lib_rimo.ui.train_tab import TITLE, render_train_tab

SWITCH = """
const switch_to_txt2img = () => [...document.querySelectorAll("button")]
    .find((button) => button.textContent.trim() === "txt2img").click();
"""


class WebUI(Standalone):
    """A host that draws by itself, as WebUIs do; here every picture is grey."""

    def draw_plot(self, plot, drawn):
        for _ in plot.prompts:
            drawn()
        return Image.new("RGB", plot.size, "grey")


def put_into_head(text):
    """Have Gradio's page carry more in its head, as WebUIs do it in every version of Gradio."""
    original = gradio.routes.templates.TemplateResponse

    def respond(*arguments, **named):
        response = original(*arguments, **named)
        response.body = response.body.replace(b"</head>", text.encode() + b"</head>", 1)
        response.init_headers()
        return response

    gradio.routes.templates.TemplateResponse = respond


def main(home, port, python):
    host = WebUI(Path(home))
    host.python = Path(python)
    server = TrainServer(host)
    with gr.Blocks(analytics_enabled=False) as page, gr.Tabs():
        with gr.Tab("txt2img"):
            gr.Textbox(label="Prompt", lines=3, elem_id="txt2img_prompt")
        with gr.Tab("Train", id="train"), gr.Tabs(elem_id="train_tabs"):
            with gr.Tab("Create embedding"):
                gr.Markdown("A WebUI's own.")
            with gr.Tab(TITLE, elem_id="rimo_train_tab"):
                render_train_tab(server)
    put_into_head(f"{head()}<script>{SWITCH}</script>")
    page.launch(server_name="127.0.0.1", server_port=int(port), show_error=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
