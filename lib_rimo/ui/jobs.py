"""The Train tab's jobs: what they will take, starting and stopping them, how they stand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lib_rimo.errors import MissingError, UserError
from lib_rimo.held_folders import reading_through
from lib_rimo.hosts.training import TrainingHost, check_ready, find_base_model
from lib_rimo.training.data.image_files import open_image
from lib_rimo.training.data.picture_set import data_url
from lib_rimo.training.events import COMMANDS, CommandFolder
from lib_rimo.training.jobs.diagnosis import disk_is_full
from lib_rimo.training.jobs.estimate import estimate, read_model
from lib_rimo.training.jobs.folder import UNFINISHED, Job
from lib_rimo.training.jobs.queue import Queue
from lib_rimo.training.validation import (
    find_disappointments,
    find_faults,
    find_stale,
    validate,
)
from lib_rimo.ui.comparison import Comparison, offer_steps
from lib_rimo.ui.curve_files import curve_file
from lib_rimo.ui.opened_folders import OpenedFolders
from lib_rimo.ui.replies import Reply, StaleError, as_json
from lib_rimo.ui.settings import Settings
from lib_rimo.ui.trial import trial_size, try_prompt


class Jobs:
    """Answers what the page asks about trainings."""

    def __init__(
        self, host: TrainingHost, queue: Queue, opened: OpenedFolders, settings: Settings
    ) -> None:
        self.host = host
        self.queue = queue
        self.opened = opened
        self.settings = settings
        self.comparisons: dict[str, Comparison] = {}

    def do_estimate(self, asked: Reply) -> Reply:
        """Time and memory of a training before it starts."""
        options = self.settings.options(asked["options"])
        faults = find_faults(options)
        if not options.train_data_dir:  # which the page asks for itself
            faults = [fault for fault in faults if fault.about != "train_data_dir"]
        if faults:
            raise UserError(*faults)
        expected = estimate(options, self.queue.folder)
        stale = find_stale(options)
        others = [message for message in find_disappointments(options) if message not in stale]
        return {
            **vars(expected),
            "text": expected.text,
            "messages": as_json([*expected.messages, *others]),
            "stale": as_json(stale),
        }

    def do_train(self, asked: Reply) -> Reply:
        """Queue a training."""
        job = self.start(asked["options"], anyway=bool(asked.get("anyway")))
        return {"job": job.id, **self.do_jobs(asked)}

    def start(self, content: dict[str, Any], *, anyway: bool = False) -> Job:
        """Queue a training of these options.

        Raises UserError; StaleError where it is on made pictures that would be made otherwise
        today, unless that is wanted `anyway`.
        """
        check_ready(self.host)
        options = self.settings.options(content)
        validate(options)
        read_model(Path(options.pretrained_model_name_or_path))  # or says what is wrong with it
        if not anyway and (stale := find_stale(options)):
            raise StaleError(*stale)
        return self.queue.add(options, self.host.lora_folder)

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

    def do_try_step(self, asked: Reply) -> Reply:
        """A prompt with the LoRA as it was saved at a step, which the host can find then."""
        job = self.queue.job(asked["job"])
        paths = [Path(path) for step, path in job.progress().saved if step == asked["step"]]
        if not paths or paths[-1].stem not in offer_steps(job, self.host, most=None):
            raise MissingError("Step {step} was not saved.", step=asked["step"])
        name = job.options.output_name
        prompt = try_prompt(job.options)
        return {"prompt": prompt.replace(f"<lora:{name}:1>", f"<lora:{paths[-1].stem}:1>")}

    def do_settings(self, asked: Reply) -> Reply:
        """The options of any job; with `more` those of so many steps that begin with its LoRA."""
        job = self.queue.job(asked["job"])
        options = dataclasses.asdict(job.options)
        if "more" in asked:
            _, lora = job.progress().last_good_file() or (0, job.lora)
            options |= {
                "network_weights": str(lora),
                "max_train_steps": int(asked["more"]),
                "max_train_epochs": None,
                "output_name": f"{job.options.output_name}-more",
            }
        return {"options": options}

    def do_curve(self, asked: Reply) -> Reply:
        """Loss and learning rate as a file, `csv` or `tensorboard`."""
        job = self.queue.job(asked["job"])
        return {**curve_file(job.options.output_name, job.progress().curve, asked["as"])}

    def do_try(self, asked: Reply) -> Reply:
        """What is needed to draw with a job's LoRA: prompt, base model, size."""
        options = self.queue.job(asked["job"]).options
        base = options.pretrained_model_name_or_path
        model = find_base_model(self.host.base_models(), base)
        width, height = trial_size(options)
        return {
            "prompt": try_prompt(options),
            "base": {"path": base, "listed": next(iter(model.names), "") if model else ""},
            "size": f"{width}x{height}",
        }

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
            "published": str(job.lora_in_use or ""),
            "seconds_a_step": progress.seconds_a_step,
            "log": [*progress.lines[-200:], *_tail(job.log, 50)],
            "asked": sorted(CommandFolder(job.training_folder / "commands").pending()),
            "prompt": try_prompt(options),
            "can_compare": bool(progress.saved),
            "comparison": self._comparison(job),
        }


def _tail(path: Path, lines: int) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        return []
