"""Registers block weights with the WebUI, which runs this file whenever it loads its scripts."""

from pathlib import Path

from modules import paths_internal, scripts

from lib_rimo.hosts.detection import connect

host = connect(Path(paths_internal.script_path))
if host is None:
    print("Rimo: block weights need AUTOMATIC1111's WebUI or Forge, with their Lora extension on.")
else:
    host.install()


class BlockWeightsScript(scripts.Script):
    def title(self):
        return "LoRA block weights"

    def show(self, is_img2img):
        return scripts.AlwaysVisible if host is not None else False

    def ui(self, is_img2img):
        from lib_rimo.ui.panel import render_panel

        render_panel("img2img" if is_img2img else "txt2img", host)

    def process(self, p, *args):
        host.process(p)
