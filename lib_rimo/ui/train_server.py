"""What the Train tab asks for: pictures, recipes, jobs. JSON in and out, without Gradio.

The tab lives in the browser and keeps nothing that matters: pictures, captions and jobs are files,
so a page that is opened again, here or on another machine, shows what there is.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import itertools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib_rimo.environment import ROOT
from lib_rimo.errors import MissingError, UserError
from lib_rimo.files import is_full
from lib_rimo.held_folders import reading_through
from lib_rimo.hosts.training import TrainingHost, check_folder
from lib_rimo.messages import AS_JSON, Message, read_messages
from lib_rimo.training.config.declaration import option_type
from lib_rimo.training.config.dialects import as_kohyas
from lib_rimo.training.config.documents import read_mapping
from lib_rimo.training.config.job_file import flatten, from_mapping
from lib_rimo.training.config.options import GROUPS, TrainingOptions
from lib_rimo.training.config.recipes import BUILT_IN, load_recipes, save_recipe
from lib_rimo.training.data.captions import read_caption, split_tags
from lib_rimo.training.data.folders import find_folders
from lib_rimo.training.data.image_files import open_image
from lib_rimo.training.data.picture_set import PictureSet, data_url
from lib_rimo.training.data.pictures import find_pictures
from lib_rimo.training.events import COMMANDS, CommandFolder
from lib_rimo.training.jobs.diagnosis import disk_is_full
from lib_rimo.training.jobs.estimate import estimate, read_model
from lib_rimo.training.jobs.folder import UNFINISHED, Job
from lib_rimo.training.jobs.queue import Queue, child_environment, command_line
from lib_rimo.training.validation import find_disappointments, find_faults, validate
from lib_rimo.ui.comparison import Comparison
from lib_rimo.ui.opened_folders import OpenedFolders
from lib_rimo.ui.search import Searches

Reply = dict[str, Any]


def refusal(error: UserError) -> Reply:
    """What the page is answered where something is refused: the English text, and all of it."""
    return {"error": str(error), "messages": as_json(error.messages)}


def as_json(messages: Iterable[Message]) -> list[Reply]:
    """Messages as the page takes them."""
    return [message.as_json() for message in messages]


def _why_not(error: OSError) -> UserError:
    if is_full(error):
        return UserError("The disk is full: make room.")
    reason = error.strerror or str(error)
    return UserError("{file}: {reason}.", file=error.filename or "-", reason=reason)


class TrainServer:
    """Answers the page; one for all visitors."""

    def __init__(self, host: TrainingHost) -> None:
        self.host = host
        self.comparisons: dict[str, Comparison] = {}
        self.queue = Queue(host.home / "jobs", host.python)
        self.opened = OpenedFolders(host)
        self.searches = Searches(host, self.queue)

    def answer(self, request: str) -> str:
        """Answer one request `{"do": name, ...}`; what the user can mend comes as `error`."""
        asked = json.loads(request)
        name = f"do_{asked.get('do')}"
        handler: Callable[[Reply], Reply] | None
        handler = getattr(self, name, None) or getattr(self.searches, name, None)
        try:
            if handler is None:
                raise UserError("The page is older than the program: reload it.")
            reply = handler(asked)
        except UserError as error:
            reply = refusal(error)
        except OSError as error:  # a full disk, a folder that may not be written
            reply = refusal(_why_not(error))
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            sentence = "The request was not understood ({error}): reload the page."
            reply = refusal(UserError(sentence, error=f"{type(error).__name__}: {error}"))
        return json.dumps(reply)

    # the page

    def do_open(self, asked: Reply) -> Reply:
        """All that the page needs when it opens."""
        models = self.host.base_models()
        messages: list[Message] = []
        return {
            "groups": GROUPS,
            "options": declarations(),
            "recipes": load_recipes(self._recipes, messages.append),
            "builtIn": list(BUILT_IN),
            "messages": as_json(messages),
            "bases": [
                {"title": base.title, "path": str(base.path), "options": dict(base.options)}
                for base in models
            ],
            "interrogators": list(self.host.interrogators()),
            "sets": self._sets(),
            "host": self.host.name,
            "is_ready": self.host.is_ready(),
            **self.do_jobs(asked),
        }

    def do_installing(self, asked: Reply) -> Reply:
        """How far an installation of the trainer's libraries is; null where none goes on."""
        going_on = self.host.installation()
        return {
            "is_ready": self.host.is_ready(),
            "installing": None if going_on is None else dataclasses.asdict(going_on),
        }

    def do_install(self, asked: Reply) -> Reply:
        """Install the trainer's libraries; takes minutes."""
        self.host.prepare()
        return {"is_ready": self.host.is_ready()}

    # pictures

    def do_new_set(self, asked: Reply) -> Reply:
        """Make an empty set of pictures."""
        root = self.host.home / "pictures"
        root.mkdir(parents=True, exist_ok=True)
        number = 1
        while (folder := root / f"set-{number:02d}").exists():
            number += 1
        folder.mkdir()
        return {"set": str(folder), "pictures": []}

    def do_pictures(self, asked: Reply) -> Reply:
        """The pictures of a set."""
        pictures = PictureSet(self.opened.open(Path(asked["set"])), self.opened.held)
        shown = [
            {**vars(picture), "left_out": picture.left_out and picture.left_out.as_json()}
            for picture in pictures.shown()
        ]
        own = pictures.folder.is_relative_to((self.host.home / "pictures").resolve())
        return {"set": str(pictures.folder), "pictures": shown, "own": own}

    def do_add(self, asked: Reply) -> Reply:
        """Take in dropped files: `files` with `name` and base64 `content`."""
        pictures = self._own_set(asked)
        refused: list[Message] = []
        for file in asked["files"]:
            try:
                pictures.add(file["name"], base64.b64decode(file["content"], validate=True))
            except binascii.Error:
                torn = "{file} did not arrive whole: drop it again."
                refused.append(Message(torn, file=file["name"], about=file["name"]))
            except UserError as error:
                refused += error.messages
        return {**self.do_pictures(asked), "refused": as_json(refused)}

    def do_remove(self, asked: Reply) -> Reply:
        """Delete one picture of a set that was dropped in."""
        self._own_set(asked).remove(asked["name"])
        return self.do_pictures(asked)

    def do_caption(self, asked: Reply) -> Reply:
        """Write one caption."""
        self._set(asked).set_caption(asked["name"], asked["caption"])
        return {}

    def do_interrogate(self, asked: Reply) -> Reply:
        """Let the host propose the caption of one picture; it is not written yet."""
        propose = self.host.interrogators().get(asked["with"])
        if propose is None:
            raise UserError("This WebUI has no {name}.", name=asked["with"])
        return {"caption": propose(self._set(asked).path(asked["name"]))}

    def do_augment(self, asked: Reply) -> Reply:
        """Make many pictures of few, in a folder of their own, and show them."""
        source = self._set(asked).folder
        folder = self._folder_for_made(source.name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["augment", str(source), str(folder), "--count", str(int(asked["count"]))]
        arguments += ["--seed", str(int(asked["seed"])), "--name", asked["name"] or "pictures"]
        if asked.get("resolution"):
            arguments += ["--resolution", str(asked["resolution"])]
        if not asked.get("mirror", True):
            arguments.append("--no-mirror")
        messages = self._run_verb(arguments)
        return {**self.do_pictures({"set": str(folder)}), "messages": as_json(messages)}

    def do_discard(self, asked: Reply) -> Reply:
        """Throw one made picture out; from a copy where a job needs the others as they are."""
        from lib_rimo.training.augment.augmentation import discard

        folder = self._set(asked).folder
        if not folder.is_relative_to(self._made.resolve()):
            raise UserError("Only pictures that were made here can be thrown out.")
        if folder in self._needed():
            copy = self._folder_for_made(re.sub(r"-\d+$", "", folder.name))
            shutil.rmtree(copy, ignore_errors=True)
            folder = shutil.copytree(folder, copy)
        held = self.opened.held
        discard(folder, {PictureSet(folder, held).path(asked["name"])}, held)
        return self.do_pictures({"set": str(folder)})

    # recipes

    def do_save_recipe(self, asked: Reply) -> Reply:
        """Keep a recipe under a name."""
        save_recipe(self._recipes, asked["name"], self._read(asked["options"])[0])
        return {"recipes": load_recipes(self._recipes, lambda message: None)}

    def do_load_file(self, asked: Reply) -> Reply:
        """Read a job file, kohya's TOML or JSON: its options, and what was left out."""
        suffix = ".json" if asked["name"].lower().endswith(".json") else ".toml"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"options{suffix}"
            path.write_text(asked["content"], encoding="utf-8")
            options, messages = self._read(read_mapping(path))
        return {"options": dataclasses.asdict(options), "messages": as_json(messages)}

    # jobs

    def do_estimate(self, asked: Reply) -> Reply:
        """Time and memory of a training before it starts."""
        options = self._options(asked["options"])
        faults = find_faults(options)
        if not options.train_data_dir:  # which the page asks for itself
            faults = [fault for fault in faults if fault.about != "train_data_dir"]
        if faults:
            raise UserError(*faults)
        expected = estimate(options, self.queue.folder)
        messages = [*expected.messages, *find_disappointments(options)]
        return {**vars(expected), "text": expected.text, "messages": as_json(messages)}

    def do_train(self, asked: Reply) -> Reply:
        """Queue a training."""
        job = self.start(asked["options"])
        return {"job": job.id, **self.do_jobs(asked)}

    def start(self, content: dict[str, Any]) -> Job:
        """Queue a training of these options; raises UserError."""
        self._check_ready()
        options = self._options(content)
        validate(options)
        read_model(Path(options.pretrained_model_name_or_path))  # or says what is wrong with it
        return self.queue.add(options, self.host.lora_folder)

    def filled_in(self, content: dict[str, Any]) -> dict[str, Any]:
        """Options from outside as the page would have them.

        A model may be given by the name that the host lists it under; and what it needs in place
        of the recipe's stands there unless something else is asked for.
        """
        models = list(self.host.base_models())
        asked = str(content.get(MODEL_OPTIONS[0], ""))
        named = [model for model in models if asked in (model.title, model.path.name)]
        if len(named) == 1 and not Path(asked).exists():
            content = {**content, MODEL_OPTIONS[0]: str(named[0].path)}
        path = Path(str(content.get(MODEL_OPTIONS[0], "")))
        suited = next((model.options for model in models if model.path == path), {})
        return {**suited, **content}

    def do_jobs(self, asked: Reply) -> Reply:
        """All jobs, the newest first; looks after the queue on the way."""
        # Without any room a runner could not even take down that it started a job.
        if self.queue.waiting() and not disk_is_full(self.queue.folder, needed=1 << 20):
            self.queue.ensure_running()
        return {"jobs": [self.describe(job) for job in reversed(self.queue.jobs())]}

    def do_watch(self, asked: Reply) -> Reply:
        """One job in full, of its curve what comes after the step `after`."""
        return {**self.show(self.queue.job(asked["job"]), int(asked.get("after", 0)))}

    def do_command(self, asked: Reply) -> Reply:
        """Stop, save or sample."""
        self.command(self.queue.job(asked["job"]), asked["command"])
        return self.do_jobs(asked)

    def command(self, job: Job, command: str) -> None:
        """Give a command to a job; raises UserError."""
        known = next((name for name in COMMANDS if name == command), None)
        if known is None:
            sentence = "{command} is no command: use one of {list}."
            raise UserError(sentence, command=command, list=COMMANDS)
        job.give(known)

    def do_resume(self, asked: Reply) -> Reply:
        """Go on with an unfinished job."""
        self.queue.resume(self.queue.job(asked["job"]))
        return self.do_jobs(asked)

    def do_forget(self, asked: Reply) -> Reply:
        """Remove a job with its files; its LoRA stays."""
        job = self.queue.job(asked["job"])
        copies = Comparison(job, self.host).copies()
        self.queue.remove(job)
        for copy in copies:
            copy.unlink(missing_ok=True)
        return self.do_jobs(asked)

    def do_sample(self, asked: Reply) -> Reply:
        """One sample picture."""
        job = self.queue.job(asked["job"])
        with reading_through(self.opened.held):
            picture = open_image(self.sample_path(job, asked["name"]))
        return {"picture": data_url(picture, 1024)}

    def sample_path(self, job: Job, name: str) -> Path:
        """The file of a sample, by its name; raises UserError for any other file."""
        for _, path in job.progress().samples:
            real = Path(path).resolve()
            if real.name == name and real.is_relative_to(job.folder.resolve()) and real.is_file():
                return real
        raise MissingError("There is no sample {name}.", name=name)

    def do_compare(self, asked: Reply) -> Reply:
        """Draw the saved steps against strengths."""
        job = self.queue.job(asked["job"])
        running = self.comparisons.get(job.id)
        if running is None or not running.is_running:
            comparison = Comparison(job, self.host)
            comparison.start(try_prompt(job.options))
            self.comparisons[job.id] = comparison
        return {"comparison": self._comparison(job)}

    def do_comparison(self, asked: Reply) -> Reply:
        """The plot that was drawn last."""
        path = Comparison(self.queue.job(asked["job"]), self.host).path
        if not path.exists():
            raise UserError("There is no plot of this training yet.")
        return {"picture": data_url(open_image(path), 2048)}

    def _comparison(self, job: Job) -> Reply:
        comparison = self.comparisons.get(job.id) or Comparison(job, self.host)
        drawn = comparison.path
        return {
            "done": comparison.done,
            "total": comparison.total,
            "running": comparison.is_running,
            "messages": as_json(comparison.messages),
            "version": drawn.stat().st_mtime if drawn.exists() else 0,
        }

    def describe(self, job: Job) -> Reply:
        """A job in short."""
        progress = job.progress()
        state = job.state(progress)
        return {
            "id": job.id,
            "name": job.options.output_name,
            "state": state,
            "step": progress.step,
            "steps": progress.steps or job.options.max_train_steps,
            "seconds_left": progress.seconds_left if state == "running" else None,
            "added": job.status.added,
            "can_resume": state in UNFINISHED,
        }

    def show(self, job: Job, after: int = 0) -> Reply:
        """A job in full."""
        progress = job.progress()
        state = job.state(progress)
        options = job.options
        end: Reply = {"text": "", "messages": [], "file": ""}
        if state not in ("waiting", "running"):
            ending = job.ending(progress)
            end = {
                "text": ending.text,
                "messages": as_json(ending.messages),
                "file": str(ending.last_good_file or ""),
            }
        return {
            **progress.as_dict(after),
            **self.describe(job),
            "samples": [[step, Path(path).name] for step, path in progress.samples],
            "saved": [[step, Path(path).name] for step, path in progress.saved],
            "ending": end,
            "log": [*progress.lines[-200:], *_tail(job.log, 50)],
            "asked": sorted(CommandFolder(job.training_folder / "commands").pending()),
            "prompt": try_prompt(options),
            "can_compare": bool(progress.saved),
            "comparison": self._comparison(job),
        }

    def _run_verb(self, arguments: list[str]) -> list[Message]:
        """Run `python -m lib_rimo ...` to its end; what it told. Raises UserError."""
        self._check_ready()
        done = subprocess.run(
            command_line(self.host.python, arguments),
            cwd=ROOT,
            env={**child_environment(), AS_JSON: "json"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            if messages := read_messages(done.stderr):
                raise UserError(*messages)
            lines = done.stderr.strip().splitlines()
            raise UserError("It broke off: {reason}", reason=lines[-1] if lines else "-")
        return read_messages(done.stdout)

    def _check_ready(self) -> None:
        if not self.host.is_ready():
            raise UserError("The trainer's libraries are not installed yet: install them first.")

    @property
    def _recipes(self) -> Path:
        return self.host.home / "recipes"

    def _sets(self) -> list[str]:
        root = self.host.home / "pictures"
        folders = sorted(root.iterdir()) if root.is_dir() else []
        sets = [PictureSet(folder.resolve(), self.opened.held) for folder in folders]
        return [str(known.folder) for known in sets if known.pictures()]

    def _set(self, asked: Reply) -> PictureSet:
        return PictureSet(self.opened.find(Path(asked["set"])), self.opened.held)

    @property
    def _made(self) -> Path:
        return self.host.home / "augmented"

    def _needed(self) -> set[Path]:
        """The folders that jobs train on, or would once they are resumed."""
        return {
            Path(job.options.train_data_dir).resolve()
            for job in self.queue.jobs()
            if job.snapshot.damage is None
        }

    def _folder_for_made(self, name: str) -> Path:
        """Where pictures made of the set of that name go: no job needs what lies there."""
        needed = self._needed()
        folders = (self._made / f"{name}-{number}" for number in itertools.count(1))
        return next(folder for folder in folders if folder.resolve() not in needed)

    def _own_set(self, asked: Reply) -> PictureSet:
        """A set of dropped pictures: of other folders nothing is deleted or overwritten."""
        pictures = self._set(asked)
        if not pictures.folder.is_relative_to((self.host.home / "pictures").resolve()):
            raise UserError("This folder is yours: add and remove its pictures there.")
        return pictures

    def _options(self, content: dict[str, Any]) -> TrainingOptions:
        """Options from the page, with every path checked."""
        options, _ = self._read(content)
        for name in (*MODEL_OPTIONS, *FOLDER_OPTIONS):
            text = getattr(options, name)
            if not text:
                continue
            path = Path(text).expanduser().absolute()
            is_model = name in MODEL_OPTIONS
            if is_model and path.suffix.lower() != ".safetensors":
                raise UserError(
                    "{file} is not a .safetensors model: choose another.",
                    file=path.name,
                    about=name,
                )
            real = check_folder(path, self.host, is_model=is_model)
            # A linked model keeps its name, and with it the .yaml that lies beside the link.
            setattr(options, name, str(path if is_model else real))
        options.output_dir = str(self.queue.folder)
        if Path(options.sample_prompts).suffix in (
            ".txt",
            ".toml",
            ".json",
        ):  # then the trainer reads that file
            check_folder(Path(options.sample_prompts), self.host)
        return options

    def _read(self, content: dict[str, Any]) -> tuple[TrainingOptions, list[Message]]:
        """Options with warnings; raises UserError before a file is opened that may not be."""
        # Translated first, for front ends' files name folders under names of their own.
        if (
            flatten(as_kohyas(content, [])).get("dataset_config")
            and self.host.open_folders() is not None
        ):
            raise UserError(
                "dataset_config can name any folder, so it is refused while others can reach "
                "this WebUI: set the options one by one.",
                about="dataset_config",
            )
        options, warnings = from_mapping(content)
        return options, [Message(text, level="warning") for text in warnings]


MODEL_OPTIONS = ("pretrained_model_name_or_path", "network_weights", "vae")
FOLDER_OPTIONS = ("train_data_dir", "reg_data_dir", "dataset_config", "logging_dir")
# What the page itself decides, or what only makes sense on the command line.
HIDDEN_OPTIONS = frozenset(
    {"output_dir", MODEL_OPTIONS[0], FOLDER_OPTIONS[0], "output_name", "trigger_word"}
)


def declarations() -> list[Reply]:
    """The options as the page makes fields of them."""
    declared = []
    for option in dataclasses.fields(TrainingOptions):
        if option.name in HIDDEN_OPTIONS:
            continue
        kind, optional = option_type(option)
        default = getattr(TrainingOptions(), option.name)
        described = {"name": option.name, "type": kind.__name__, "optional": optional}
        declared.append({**described, "default": default, **option.metadata})
    return declared


def try_prompt(options: TrainingOptions) -> str:
    """A prompt that shows what was learned: it has the trigger word, or how all captions begin."""
    subject = options.trigger_word.strip() or _first_tag(options) or options.output_name
    return f"{subject}, <lora:{options.output_name}:1>"


def _first_tag(options: TrainingOptions) -> str:
    """The tag that all captions begin with; empty without one."""
    folder = Path(options.train_data_dir)
    try:
        return _common_tag(folder, options.caption_extension, folder.stat().st_mtime_ns)
    except (OSError, UserError):  # the pictures may be gone by now
        return ""


@lru_cache(maxsize=64)  # the page asks every second or two
def _common_tag(root: Path, extension: str, _time: int) -> str:
    first: set[str] = set()
    for folder in find_folders(root):
        for picture in find_pictures(folder.path):
            tags = split_tags(read_caption(picture, extension) or "")
            first.add(tags[0] if tags else "")
            if len(first) > 1:
                return ""
    return first.pop() if first else ""


def _tail(path: Path, lines: int) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        return []
