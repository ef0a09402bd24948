"""One search over a LoRA's states: what is asked for, its process, what it found.

The search itself is a process with the trainer's libraries (`lib_rimo/scoring/asking.py`); here its
pictures are drawn, by the host, and what it tells is kept. Pictures and results lie in a folder of
their own for each order, so that asking again goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.hosts.training import TrainingHost
from lib_rimo.inference.infotext import Settings
from lib_rimo.messages import Message, read_messages
from lib_rimo.text import parse_json
from lib_rimo.training.jobs.diagnosis import KILLED
from lib_rimo.ui.replies import Reply, as_json
from lib_rimo.ui.verbs import start_verb
from lib_rimo.weights.presets import BLOCKS_FILE, DEFAULT_PRESETS, Presets

Kind = Literal["choose", "blocks"]
State = Literal["preparing", "planned", "running", "finished", "stopped", "failed"]

_GOING_ON = ("preparing", "planned", "running")


@dataclass(frozen=True)
class Order:
    """What is searched, and how its pictures are drawn; `settings` has no prompt and no seed."""

    kind: Kind
    lora: Path
    name: str
    """As `lib_rimo.scoring.choice.saved_files` takes it."""
    pictures: Path
    model: Path
    settings: Settings
    prompts: tuple[str, ...] = ()
    trigger_word: str = ""
    strength: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    """The host's own that its pictures depend on."""

    @property
    def id(self) -> str:
        """The same for the same order."""
        what = json.dumps(dataclasses.asdict(self), default=str)
        return f"{self.kind}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"

    def arguments(self, folder: Path, host: str) -> list[str]:
        """The verb that searches."""
        model = self.model.stat()
        drawn_by = [host, str(self.model), model.st_mtime_ns, dataclasses.asdict(self.settings)]
        size = f"{self.settings.width}x{self.settings.height}"
        arguments = [self.kind, self.name, "--lora-dir", str(self.lora.parent)]
        arguments += ["--pictures", str(self.pictures), "--model", str(self.model)]
        arguments += ["--size", size, "--seeds", "4", "--out", str(folder)]
        arguments += [f"--prompt={prompt}" for prompt in self.prompts]
        arguments += [f"--trigger-word={self.trigger_word}", f"--ask={json.dumps(drawn_by)}"]
        if self.kind == "blocks":
            arguments += [f"--strength={self.strength}", "--presets", str(folder)]
        return arguments


@dataclass
class Search:
    """One search that goes on, or did."""

    order: Order
    folder: Path
    host: TrainingHost
    notes: tuple[Message, ...] = ()
    """What to know of its pictures before they are drawn."""
    state: State = "preparing"
    pictures: int = 0
    done: int = 0
    seconds_left: float | None = None
    messages: tuple[Message, ...] = ()
    """Why it failed."""
    _refused: tuple[Message, ...] = ()
    """Why the host would not draw."""
    _process: subprocess.Popen[str] | None = None
    _is_to_stop: bool = False
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Begin in a thread; the search waits for `go` once it knows how long it takes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_presets(self.folder, self.host.presets())
        threading.Thread(target=self._run, name="rimo-search", daemon=True).start()

    def go(self) -> None:
        """The plan is wanted."""
        if self.state == "planned":
            self.state = "running"
            self._answer({})

    def stop(self) -> None:
        """End with the best so far; at once where nothing was begun."""
        if self.state == "preparing":
            self.abandon()
        self._is_to_stop = True
        if self.state == "planned":
            self._answer({"stop": True})

    def abandon(self) -> None:
        """End at once, as when the host reloads its scripts: asked for again, it goes on."""
        self._is_to_stop = True
        if self._process is not None:
            self._process.terminate()

    @property
    def is_going_on(self) -> bool:
        """Whether it has not ended in one way or another."""
        return self.state in _GOING_ON

    def as_dict(self) -> Reply:
        """For the page and the API."""
        return {
            "id": self.order.id,
            "kind": self.order.kind,
            "lora": self.order.name,
            "state": self.state,
            "pictures": self.pictures,
            "done": self.done,
            "seconds_left": self.seconds_left,
            "messages": as_json(self.messages),
            "notes": as_json(self.notes),
            "result": None if self.is_going_on else read_result(self.folder),
        }

    def _run(self) -> None:
        try:
            with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
                code = self._serve(said)
                said.seek(0)
                self._end(code, said.read())
        except Exception as error:  # whatever happens here, the page is told
            reason = f"{type(error).__name__}: {error}"
            self.messages = (Message("The search broke off: {reason}", reason=reason),)
            self.state = "failed"

    def _serve(self, said: IO[str]) -> int:
        """Start the process and do what it asks; its exit code."""
        result = self.folder / "result.json"
        result.unlink(missing_ok=True)
        arguments = self.order.arguments(self.folder, self.host.name)
        process = start_verb(self.host, arguments, said, stdin=subprocess.PIPE)
        # An answer that came too late for it is written once more when its input is closed.
        with suppress(BrokenPipeError), process:
            self._process = process
            if self._is_to_stop:  # while it was being started
                process.terminate()
            assert process.stdout is not None
            for line in process.stdout:
                self._take(line)
        return process.returncode

    def _take(self, line: str) -> None:
        try:
            event = parse_json(line)
        except ValueError:
            return  # what a library prints
        if not isinstance(event, dict):
            return
        kind = event.get("kind")
        if kind == "draw":
            self._answer({"stop": True} if self._is_to_stop else self._draw(event))
        elif kind == "plan":
            self.pictures, self.seconds_left = event["pictures"], event["seconds"]
            self.state = "planned"
            if self._is_to_stop:
                self._answer({"stop": True})
        elif kind == "progress":
            self.done, self.seconds_left = event["done"], event["seconds_left"]
            self.pictures = max(self.pictures, event["total"] if self.pictures else 0)

    def _draw(self, event: Mapping[str, Any]) -> Reply:
        """Draw what was asked for; why it could not be, where that is so."""
        settings = replace(self.order.settings, prompt=event["prompt"], seed=event["seed"])
        try:
            picture = self.host.draw_picture(settings, self.order.model, self.order.options)
            with written_beside(Path(event["file"])) as beside:
                picture.save(beside, format="PNG")
        except UserError as error:
            self._refused = error.messages
            return {"error": str(error)}
        except Exception as error:  # whatever the host raises
            return {"error": str(error) or type(error).__name__}
        return {}

    def _answer(self, answer: Reply) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with self._writing, suppress(OSError):  # it has ended; why is told at its end
            process.stdin.write(json.dumps(answer) + "\n")
            process.stdin.flush()

    def _end(self, code: int, said: str) -> None:
        if code == 0:
            self.state = "stopped" if self._is_to_stop else "finished"
        elif self._is_to_stop:
            self.state = "stopped"
        else:
            self.messages = self._refused or tuple(read_messages(said)) or (_cause(code, said),)
            self.state = "failed"


def _cause(code: int, said: str) -> Message:
    """Why a search ended that could not say so itself."""
    if code in KILLED:
        return Message(
            "The search was killed, most likely as memory (RAM) ran out: close other programs and "
            "start it again, it goes on."
        )
    last = said.strip().splitlines()[-1:] or [f"exit status {code}"]
    return Message("The search broke off: {reason}", reason=last[0])


def read_result(folder: Path) -> Reply | None:
    """What a search left in its folder; None where that is nothing that can be read."""
    try:
        content = parse_json((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write_presets(folder: Path, presets: Presets) -> None:
    """The user's own presets, for the search to read."""
    own: Sequence[tuple[str, str]] = [
        (name, values)
        for name, values in presets.blocks.items()
        if DEFAULT_PRESETS.blocks.get(name) != values
    ]
    with written_beside(folder / BLOCKS_FILE) as beside:
        beside.write_text("".join(f"{name}:{values}\n" for name, values in own), encoding="utf-8")
