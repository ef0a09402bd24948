"""Registers block weights with the WebUI, which runs this file whenever it loads its scripts."""

from modules import scripts

from lib_rimo.hosts.detection import connect

host = connect()
host.install()


class BlockWeightsScript(scripts.Script):
    def title(self):
        return "LoRA block weights"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        from lib_rimo.ui.panel import render_panel

        render_panel("img2img" if is_img2img else "txt2img", host)

    def process(self, p, *args):
        host.process(p)
