"""The page of `python -m lib_rimo ui`: the Train tab and a small Generate tab."""

from functools import partial
from typing import Any

import gradio as gr

from lib_rimo.errors import UserError
from lib_rimo.hosts.standalone import Standalone
from lib_rimo.ui.access import Guard, stand_before
from lib_rimo.ui.api import add_routes
from lib_rimo.ui.generate_tab import render_generate_tab
from lib_rimo.ui.gradio_compat import has_session
from lib_rimo.ui.page_head import chinese, head
from lib_rimo.ui.train_server import TrainServer
from lib_rimo.ui.train_tab import render_train_tab


def make_page(host: Standalone) -> tuple[gr.Blocks, TrainServer]:
    """The page, not served yet, and what answers its Train tab."""
    server = TrainServer(host)
    with gr.Blocks(title="Rimo", analytics_enabled=False, fill_width=True) as page, gr.Tabs():
        with gr.Tab(_say("Train")):
            render_train_tab(server)
        with gr.Tab(_say("Generate"), elem_id="rimo_generate_tab"):
            render_generate_tab(host, _say)
    return page, server


def _say(text: str) -> Any:
    """A label of Gradio's own components in the reader's language."""
    return gr.I18n()(text)


def serve(
    host: Standalone, port: int, login: tuple[str, str] | None, *, open_browser: bool
) -> None:
    """Serve the page and the API until Ctrl+C."""
    page, server = make_page(host)
    guard = Guard(dict([login] if login else []), reach=host.reach)
    # Gradio takes dots in a key for levels; its own labels have none.
    labels = {text: said for text, said in chinese().items() if not set(text) & set(".{")}
    try:
        app, _, _ = page.launch(
            server_name="0.0.0.0" if host.is_shared else "127.0.0.1",
            server_port=port,
            auth=guard.is_right if login else None,
            inbrowser=open_browser,
            footer_links=[],
            head=head(),
            ssr_mode=False,
            prevent_thread_lock=True,
            show_error=True,
            i18n=gr.I18n(**{"en": {}, "zh-CN": labels}),
        )
    except OSError:
        raise UserError("Port {port} is taken: give another with --port.", port=port) from None
    stand_before(app, host.reach, refuses=True, guesses=guard.guesses)
    guard.has_session = partial(has_session, app)
    add_routes(app, server, guard)
    page.block_thread()
