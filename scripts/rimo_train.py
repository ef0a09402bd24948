"""Registers the Train tab and the API with the WebUI, which runs this file with its scripts."""

from functools import partial

import gradio as gr
from modules import script_callbacks, scripts, shared

from lib_rimo.hosts.callbacks import register
from lib_rimo.hosts.webui_training import TrainingWatcher, WebUITraining, has_train_tab
from lib_rimo.ui.access import Guard, stand_before
from lib_rimo.ui.api import add_routes
from lib_rimo.ui.gradio_compat import has_session
from lib_rimo.ui.train_server import TrainServer
from lib_rimo.ui.train_tab import TITLE, render_train_tab

host = WebUITraining()
server = TrainServer(host)
watcher = TrainingWatcher(server.queue, host)
host.pipeline.before_picture = watcher.bring_model_back


def on_train_tabs(params):  # a tab inside the host's own Train tab
    with gr.Tab(TITLE, elem_id="rimo_train_tab"):
        render_train_tab(server)


def on_tabs():
    with gr.Blocks(analytics_enabled=False) as tab:
        render_train_tab(server)
    return [(tab, TITLE, "rimo_train_tab")]


def on_app_started(demo, app):
    watcher.start()
    stand_before(app, host.reach)
    logins = host.logins()
    if logins is not None and shared.cmd_opts.api:
        add_routes(app, server, Guard(logins, partial(has_session, app), host.reach))


def on_script_unloaded():
    watcher.stop()
    server.searches.abandon()


register(
    script_callbacks,
    **({"on_ui_train_tabs": on_train_tabs} if has_train_tab() else {"on_ui_tabs": on_tabs}),
    on_app_started=on_app_started,
    on_script_unloaded=on_script_unloaded,
)


class TrainingScript(scripts.Script):
    """A picture that is drawn during a training gets the model back for its time."""

    def title(self):
        return "Rimo training"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def before_process(self, p, *args):
        watcher.bring_model_back()
