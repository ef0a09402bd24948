"""The page of `python -m lib_rimo ui`: the Train tab and a small Generate tab."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from lib_rimo.environment import ROOT
from lib_rimo.errors import UserError
from lib_rimo.hosts.standalone import Standalone
from lib_rimo.ui.api import Guard, add_routes
from lib_rimo.ui.generate_tab import render_generate_tab
from lib_rimo.ui.gradio_compat import has_session
from lib_rimo.ui.train_server import TrainServer
from lib_rimo.ui.train_tab import render_train_tab

# What the scripts use of a WebUI, and its texts in the reader's language.
_WEBUI = """
const gradioApp = () => document;
const onUiLoaded = (callback) => {
    const wait = setInterval(() => {
        if (!document.querySelector(".rimo-train")) return;
        clearInterval(wait);
        callback();
    }, 100);
};
window.localization = /^zh/i.test(navigator.language) ? CHINESE : {};
"""

# Gradio's page hides what is outside of it in a way that keeps the trainings from staying in sight.
_STICKY = ".gradio-container { overflow: clip !important; }"


def make_page(host: Standalone) -> tuple[gr.Blocks, TrainServer]:
    """The page, not served yet, and what answers its Train tab."""
    server = TrainServer(host)
    with gr.Blocks(title="Rimo", analytics_enabled=False, fill_width=True) as page, gr.Tabs():
        with gr.Tab(_say("Train")):
            render_train_tab(server)
        # Rendered before it is opened: "Try it" writes into its prompt.
        with gr.Tab(_say("Generate"), elem_id="rimo_generate_tab", render_children=True):
            render_generate_tab(host, _say)
    return page, server


def _say(text: str) -> Any:
    """A label of Gradio's own components in the reader's language."""
    return gr.I18n()(text)


def _chinese() -> dict[str, str]:
    path = ROOT / "localizations" / "zh_CN.json"
    texts: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return texts


def head() -> str:
    """Our scripts and style sheet, for the page's head: Gradio rewrites what it gets as `css`."""
    texts = json.dumps(_chinese()).replace("</", "<\\/")
    scripts = [_WEBUI.replace("CHINESE", texts)]
    scripts += [_read(path) for path in sorted((ROOT / "javascript").glob("rimo_*.js"))]
    style = _read(ROOT / "style.css") + _STICKY
    return "".join(f"<script>{script}</script>" for script in scripts) + f"<style>{style}</style>"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def serve(
    host: Standalone, port: int, login: tuple[str, str] | None, *, open_browser: bool
) -> None:
    """Serve the page and the API until Ctrl+C."""
    page, server = make_page(host)
    # Gradio takes dots in a key for levels; its own labels have none.
    labels = {text: said for text, said in _chinese().items() if not set(text) & set(".{")}
    try:
        app, _, _ = page.launch(
            server_name="0.0.0.0" if host.is_shared else "127.0.0.1",
            server_port=port,
            auth=login,
            inbrowser=open_browser,
            footer_links=[],
            head=head(),
            ssr_mode=False,
            prevent_thread_lock=True,
            show_error=True,
            i18n=gr.I18n(**{"en": {}, "zh-CN": labels}),
        )
    except OSError:
        raise UserError(f"Port {port} is taken: give another with --port.") from None
    logins = dict([login]) if login else {}
    add_routes(app, server, Guard(logins, partial(has_session, app)))
    page.block_thread()
