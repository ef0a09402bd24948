"""Searches over a LoRA's states, for the page and the API: the best saved step, the best blocks.

The search itself is a process with the trainer's libraries (`lib_rimo/scoring/asking.py`); here its
pictures are drawn, by the host, and what it tells is kept. Pictures and results lie in a folder of
their own for each thing that is searched, so that asking again goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

from lib_rimo.environment import ROOT
from lib_rimo.errors import MissingError, UserError
from lib_rimo.files import written_beside
from lib_rimo.hosts.training import TrainingHost, check_folder, find_base_model
from lib_rimo.inference.infotext import Settings, check_settings
from lib_rimo.messages import AS_JSON, Message, read_messages
from lib_rimo.text import parse_json
from lib_rimo.training.data.image_files import open_image
from lib_rimo.training.data.picture_set import data_url
from lib_rimo.training.jobs.diagnosis import KILLED
from lib_rimo.training.jobs.folder import Job
from lib_rimo.training.jobs.queue import Queue, child_environment, command_line
from lib_rimo.ui.comparison import offer_steps
from lib_rimo.weights.presets import BLOCKS_FILE, DEFAULT_PRESETS, Presets
from lib_rimo.weights.tags import replace_extra_networks

Reply = dict[str, Any]
Kind = Literal["choose", "blocks"]
State = Literal["preparing", "planned", "running", "finished", "stopped", "failed"]

_SAVED = re.compile(r"-(?:step\d{8}|\d{6})$")
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
            "messages": [message.as_json() for message in self.messages],
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
        process = subprocess.Popen(
            command_line(self.host.python, self.order.arguments(self.folder, self.host.name)),
            cwd=ROOT,
            env={**child_environment(), AS_JSON: "json"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            encoding="utf-8",
        )
        # An answer that came too late for it is written once more when its input is closed.
        with suppress(BrokenPipeError), process:
            self._process = process
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


class Searches:
    """Answers the page's `search_...` requests; one search goes on at a time."""

    def __init__(self, host: TrainingHost, queue: Queue) -> None:
        self._host, self._queue = host, queue
        self._searches: dict[str, Search] = {}
        self._starting = threading.Lock()

    def do_search(self, asked: Reply) -> Reply:
        """Begin a search, of `job`'s saved steps or of the blocks of the LoRA `lora`.

        It draws two pictures to tell how long it takes, and waits for `search_go` then.
        """
        if not self._host.is_ready():
            raise UserError("The trainer's libraries are not installed yet: install them first.")
        kind = asked["kind"]
        if kind not in ("choose", "blocks"):
            raise UserError("{kind} is no search: use choose or blocks.", kind=kind)
        order = self._order_of_job(asked) if kind == "choose" else self._order_of_blocks(asked)
        check_settings(order.settings)
        with self._starting:
            for search in self._searches.values():
                if search.is_going_on:
                    if search.order.id == order.id:
                        return search.as_dict()
                    if search.state == "planned":  # by a page that may be closed by now
                        search.stop()
                        continue
                    raise UserError("Another search is going on: wait for it, or stop it.")
            search = Search(order, self._folder / order.id, self._host)
            self._searches[order.id] = search
            search.start()
        return search.as_dict()

    def do_search_watch(self, asked: Reply) -> Reply:
        """How far a search is, and what it found."""
        return self.find(str(asked["search"])).as_dict()

    def do_search_go(self, asked: Reply) -> Reply:
        """Go on with what was planned."""
        search = self.find(str(asked["search"]))
        search.go()
        return search.as_dict()

    def do_search_stop(self, asked: Reply) -> Reply:
        """Stop, with the best so far."""
        search = self.find(str(asked["search"]))
        search.stop()
        return search.as_dict()

    def do_search_strip(self, asked: Reply) -> Reply:
        """A strip of pictures of a result."""
        path = self.strip_path(str(asked["search"]), str(asked["name"]))
        return {"picture": data_url(open_image(path), 2048)}

    def abandon(self) -> None:
        """End what goes on, so that two servers don't search in one folder."""
        for search in self._searches.values():
            if search.is_going_on:
                search.abandon()

    def all(self) -> list[Reply]:
        """All searches of this run of the server."""
        return [search.as_dict() for search in self._searches.values()]

    def find(self, search_id: str) -> Search:
        """A search by its id; raises MissingError."""
        search = self._searches.get(search_id)
        if search is None:
            raise MissingError("There is no search {id}: start it again, it goes on.", id=search_id)
        return search

    def strip_path(self, search_id: str, name: str) -> Path:
        """The file of a strip; raises MissingError for any other file."""
        file = self.find(search_id).folder / f"{name}.png"
        if name not in STRIPS or not file.is_file():
            raise MissingError("There is no strip {name}.", name=name)
        return file

    @property
    def _folder(self) -> Path:
        return self._host.home / "searches"

    def _order_of_job(self, asked: Reply) -> Order:
        from lib_rimo.sd.size import parse_resolution

        job = self._queue.job(asked["job"])
        files = offer_steps(job, self._host, most=None)
        if not files:
            raise UserError("Nothing was saved yet that could be compared.")
        options = job.options
        width, height = parse_resolution(options.resolution or "512")
        settings = replace(_settings(asked), width=width, height=height)
        return Order(
            "choose",
            lora=Path(job.progress().saved[-1][1]),
            name=options.output_name,
            pictures=Path(options.train_data_dir),
            model=self._model(options.pretrained_model_name_or_path),
            settings=settings,
            trigger_word=options.trigger_word.strip(),
            options=self._host.picture_options(),
        )

    def _order_of_blocks(self, asked: Reply) -> Order:
        name = str(asked["lora"])
        lora = self._host.lora_path(name)
        if lora is None:
            raise UserError("{name}: there is no such LoRA file.", name=name)
        job = self._job_of(name)
        if asked.get("pictures"):
            pictures = check_folder(Path(str(asked["pictures"])), self._host)
        elif job is not None:
            pictures = Path(job.options.train_data_dir)
        else:
            raise UserError(
                "Say which folder has the pictures that {name} was trained on.",
                name=name,
                about="pictures",
            )
        base = "" if job is None else job.options.pretrained_model_name_or_path
        return Order(
            "blocks",
            lora=lora,
            name=lora.stem,
            pictures=pictures,
            model=self._model(str(asked.get("model") or base)),
            settings=_settings(asked),
            prompts=(without_lora(str(asked.get("prompt", "")), name) or "1girl, solo",),
            trigger_word="" if job is None else job.options.trigger_word.strip(),
            strength=float(asked.get("strength", 1.0)),
            options=self._host.picture_options(),
        )

    def _model(self, asked: str) -> Path:
        """What is drawn with: a WebUI's loaded checkpoint, else the one of this path or name."""
        models = list(self._host.base_models())
        if not models:
            raise UserError("There is no model to draw with.")
        if not asked or not self._host.draws_with_any:
            return models[0].path
        model = find_base_model(models, asked)
        if model is None:
            raise UserError(
                "{name} is not among the models: put it back, or choose one of {models}.",
                name=asked,
                models=[model.title for model in models],
                about="model",
            )
        return model.path

    def _job_of(self, name: str) -> Job | None:
        """The last training that made a LoRA of this name, or one of its saved steps."""
        names = {name, _SAVED.sub("", name)}
        jobs = [job for job in self._queue.jobs() if job.snapshot.damage is None]
        return next((job for job in reversed(jobs) if job.options.output_name in names), None)


STRIPS = ("choice", "blocks", "effects")


def read_result(folder: Path) -> Reply | None:
    """What a search left in its folder; None where that is nothing that can be read."""
    try:
        content = parse_json((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def without_lora(prompt: str, name: str) -> str:
    """A prompt without the tags of one LoRA; other tags stay."""

    def rewrite(network: Any) -> str:
        is_own = network.kind in ("lora", "lyco") and network.body.split(":")[0].strip() == name
        return "" if is_own else str(network.text)

    return replace_extra_networks(prompt, rewrite).strip().strip(",").strip()


def _settings(asked: Reply) -> Settings:
    """The page's settings; what it does not have stays as it is by default."""
    given: Mapping[str, Any] = asked.get("settings") or {}
    kinds = {"negative_prompt": str, "sampler": str, "schedule": str, "cfg_scale": float}
    kinds |= {"steps": int, "width": int, "height": int}
    read: dict[str, Any] = {
        name: kind(given[name]) for name, kind in kinds.items() if given.get(name) not in (None, "")
    }
    return Settings(**read)


def _write_presets(folder: Path, presets: Presets) -> None:
    """The user's own presets, for the search to read."""
    own: Sequence[tuple[str, str]] = [
        (name, values)
        for name, values in presets.blocks.items()
        if DEFAULT_PRESETS.blocks.get(name) != values
    ]
    with written_beside(folder / BLOCKS_FILE) as beside:
        beside.write_text("".join(f"{name}:{values}\n" for name, values in own), encoding="utf-8")
