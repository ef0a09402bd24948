"""Registers the Train tab and the API with the WebUI, which runs this file with its scripts."""

from functools import partial
from pathlib import Path

import gradio as gr
from modules import paths_internal, script_callbacks, scripts, shared

from lib_rimo.hosts.callbacks import register
from lib_rimo.hosts.detection import detect
from lib_rimo.hosts.webui_training import TrainingWatcher, training_host
from lib_rimo.ui.api import Guard, add_routes
from lib_rimo.ui.gradio_compat import has_session
from lib_rimo.ui.train_server import TrainServer
from lib_rimo.ui.train_tab import TITLE, render_train_tab

name = detect(Path(paths_internal.script_path))
host = None if name is None else training_host(name)
server = None if host is None else TrainServer(host)
watcher = None if host is None else TrainingWatcher(server.queue, host)


def on_train_tabs(params):  # AUTOMATIC1111's: a tab inside its Train tab
    with gr.Tab(TITLE, elem_id="rimo_train_tab"):
        render_train_tab(server)


def on_tabs():  # Forge has no Train tab
    with gr.Blocks(analytics_enabled=False) as tab:
        render_train_tab(server)
    return [(tab, TITLE, "rimo_train_tab")]


def on_app_started(demo, app):
    watcher.start()
    if shared.cmd_opts.api:
        add_routes(app, server, Guard(host.logins(), partial(has_session, app)))


if host is not None:
    tab = {"on_ui_train_tabs": on_train_tabs} if host.name == "a1111" else {"on_ui_tabs": on_tabs}
    register(
        script_callbacks,
        **tab,
        on_app_started=on_app_started,
        on_script_unloaded=watcher.stop,
    )


class TrainingScript(scripts.Script):
    """A picture that is drawn during a training gets the model back for its time."""

    def title(self):
        return "Rimo training"

    def show(self, is_img2img):
        return scripts.AlwaysVisible if host is not None else False

    def before_process(self, p, *args):
        watcher.bring_model_back()
