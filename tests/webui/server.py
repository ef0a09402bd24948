"""A real WebUI with a data folder of its own, and a client of its API."""

import base64
import io
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

ARGUMENTS = [
    *("--api", "--no-hashing", "--disable-console-progressbars"),
    *("--skip-torch-cuda-test", "--skip-install", "--skip-prepare-environment"),
    *("--skip-python-version-check", "--skip-version-check"),
    *("--no-download-sd-model", "--do-not-download-clip"),
]
ON_CPU = {
    "a1111": ["--use-cpu", "all", "--no-half", "--precision", "full"],
    "forge": ["--always-cpu", "--cpu"],  # the second is Forge Neo's name for it
}

PATIENCE = 400  # seconds; on a busy machine a WebUI takes minutes to start


@dataclass
class Drawn:
    """What the API answers."""

    pixels: list[np.ndarray]  # (height, width, 3), a picture each
    info: dict[str, Any]

    @property
    def parameters(self) -> dict[str, Any]:
        return self.info["extra_generation_params"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Drawn) and all(
            np.array_equal(one, two) for one, two in zip(self.pixels, other.pixels, strict=True)
        )

    def distance(self, other: "Drawn") -> float:
        """The greatest difference of a value, of 255."""
        return max(
            float(np.abs(one.astype(int) - two.astype(int)).max())
            for one, two in zip(self.pixels, other.pixels, strict=True)
        )


@dataclass(frozen=True)
class State:
    """What tests may change in a WebUI that runs."""

    contents: dict[Path, bytes | None]
    """Of the presets; None for other files, which no test changes that it did not write."""
    options: dict[str, Any]


class RefusedError(Exception):
    """The API's answer to a request that it did not carry out."""


class Server:
    """A WebUI, running until `stop`; after a `with` block nothing of it runs, trainings neither."""

    def __init__(
        self, webui: Path, python: str, host: str, data: Path, arguments: Sequence[str] = ()
    ) -> None:
        self.webui, self.host, self.data, self.log = webui, host, data, data / "log.txt"
        (self.model,) = (data / "models/Stable-diffusion").glob("*.safetensors")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        more = os.environ.get("RIMO_WEBUI_ARGUMENTS")
        device = ON_CPU[host] if more is None else more.split()
        self.command = [python, "launch.py", *ARGUMENTS, *device, *arguments]
        self.command += ["--data-dir", str(data), "--port", str(self.port)]
        # With a data folder elsewhere, Forge's page may not have the WebUI's own scripts otherwise.
        self.command += ["--gradio-allowed-path", str(webui)]
        self.log.touch()
        self.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
        self.end_trainings()

    def start(self) -> None:
        """Start, for the first time or again on the same data."""
        starts = self._starts()
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        offline["IGNORE_CMD_ARGS_ERRORS"] = "1"  # forks have not all of the flags
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.webui,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **offline},
            )
        # Forge Neo waits for Enter where it did not write the settings' file itself.
        with self.process.stdin as keyboard:
            keyboard.write(b"\n")
        self._wait(starts + 1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _wait(self, starts: int) -> None:
        """Wait until the WebUI has started that often, the first time or anew."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            # Forge's API answers before start-up ends.
            if self._starts() == starts:
                return
            time.sleep(0.5)
        self.stop()
        raise RuntimeError(f"the WebUI did not start:\n{self.log.read_text()[-3000:]}")

    def _starts(self) -> int:
        return self.log.read_text(errors="replace").count("Startup time")

    def start_up_record(self) -> dict[str, Any]:
        """Seconds that the WebUI's start took, in all and by its parts."""
        return self._json("internal/profile-startup")

    def reload_ui(self) -> None:
        """Press "Reload UI": the WebUI runs all its scripts once more."""
        starts = self._starts()
        config = self._json("config")
        (button,) = (
            component["id"]
            for component in config["components"]
            if component["props"].get("elem_id") == "settings_restart_gradio"
        )
        (event,) = (
            index
            for index, dependency in enumerate(config["dependencies"])
            if button in dependency["targets"] or [button, "click"] in dependency["targets"]
        )
        self._json("run/predict", {"fn_index": event, "data": [], "session_hash": "tests"})
        self._wait(starts + 1)

    def elements(self) -> list[str]:
        """The ids of the page's elements."""
        components = self._json("config")["components"]
        return [component["props"].get("elem_id") for component in components]

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def end_trainings(self) -> None:
        """Kill what trains, queues or searches here: a training outlives its WebUI by itself."""
        ours = str(self.data / "rimo") + os.sep
        for process in psutil.process_iter(["cmdline"]):
            if any(ours in word for word in process.info["cmdline"] or []):
                process.kill()

    def state(self) -> State:
        """What `put_back` takes."""
        files = [path for path in self._files() if not path.is_dir()]
        contents = {path: path.read_bytes() if path.suffix == ".txt" else None for path in files}
        return State(contents, self.call("options"))

    def put_back(self, before: State) -> None:
        """Undo what was done since: trainings and searches, files, settings, the model."""
        if self.process.poll() is not None:  # a test broke off that had stopped it
            self.start()
        self.end_trainings()
        for path in sorted(self._files(), reverse=True):  # what is in a folder before it
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):  # it is not empty
                    path.rmdir()
            elif path not in before.contents:
                path.unlink(missing_ok=True)
        for path, content in before.contents.items():
            if content is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        self.call("refresh-checkpoints", {})
        with suppress(RefusedError):  # not every host has it
            self.call("refresh-loras", {})
        options = self.call("options")
        changed = {name for name, value in before.options.items() if options.get(name) != value}
        if changed:
            self.call("options", {name: before.options[name] for name in changed})

    def _files(self) -> list[Path]:
        places = ("models/Lora", "models/Stable-diffusion", "models/torch_deepdanbooru", "rimo")
        return [path for place in places for path in (self.data / place).rglob("*")]

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the API; a body is posted."""
        return self._json(f"sdapi/v1/{path}", body)

    def _json(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise RefusedError(error.read().decode()) from None

    def plot_script(self) -> dict[str, Any]:
        """What the X/Y/Z plot of txt2img takes."""
        (script,) = (
            script
            for script in self.call("script-info")
            if script["name"] == "x/y/z plot" and not script["is_img2img"]
        )
        return script

    def refined(self, refiner: str) -> dict[str, Any]:
        """Settings of a picture of four steps, the last two of them by the checkpoint `refiner`."""
        settings: dict[str, Any] = {
            "refiner_checkpoint": refiner,
            "refiner_switch_at": 0.5,
            "steps": 4,
        }
        if "refiner_use_steps" in self.call("options"):  # Forge Neo's, which else goes by sigma
            settings["override_settings"] = {"refiner_use_steps": True}
        return settings

    def draw(self, prompt: str, path: str = "txt2img", **settings: Any) -> Drawn:
        defaults = {"seed": 1, "steps": 3, "width": 64, "height": 64, "sampler_name": "Euler"}
        answer = self.call(path, {**defaults, "prompt": prompt, **settings})
        return Drawn([_pixels(text) for text in answer["images"]], json.loads(answer["info"]))


def _pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def as_base64(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
