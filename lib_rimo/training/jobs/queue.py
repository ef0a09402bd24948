"""Trainings one after another, each a process of its own that outlives whoever asked for it.

A queue is a folder of job folders, which `folder.py` reads. A runner process of the queue's own
starts the waiting jobs in turn and takes down how each ended; it goes when there is nothing left to
do. So the WebUI, a command line or nobody at all may watch, and any of them finds every job again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lib_rimo.environment import ROOT
from lib_rimo.errors import MissingError, UserError
from lib_rimo.files import written_beside
from lib_rimo.messages import Message
from lib_rimo.training.config.job_file import write_job
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.events import CommandFolder
from lib_rimo.training.jobs.diagnosis import count_memory_kills, disk_is_full
from lib_rimo.training.jobs.estimate import learn_speed
from lib_rimo.training.jobs.folder import UNFINISHED, Job, Status
from lib_rimo.training.jobs.lock import HeldError, hold, is_held
from lib_rimo.training.jobs.published import Published
from lib_rimo.training.validation import validate

LOOK_EVERY = 1.0  # seconds between the runner's looks at a training

SPIN_COUNT = "20000"
"""How often a waiting thread of a queued training looks before it sleeps (libgomp, on Linux).

Without a bound PyTorch's threads keep the processor from whoever else draws or trains. Seconds a
step on two cores, alone and three at once: unbounded 0.28 and 5.7, 20000 0.34 and 1.8, 1000 0.46
and 0.78; `benchmarks/busy_machine.py` measures it. A GOMP_SPINCOUNT that is set wins."""


class Queue:
    """A folder of jobs, of which one runs at a time."""

    def __init__(self, folder: Path, python: Path | None = None) -> None:
        """`python` is the interpreter that trainings run with, by default this one."""
        self.folder = folder
        self.python = python or Path(sys.executable)
        self._runners: list[subprocess.Popen[bytes]] = []

    def jobs(self) -> list[Job]:
        """All jobs, in the order they were asked for."""
        if not self.folder.exists():
            return []
        folders = (path.parent for path in self.folder.glob("*/status.json"))
        return sorted(map(Job, folders), key=lambda job: job.status.added)

    def job(self, identity: str) -> Job:
        """The job of that id; raises UserError where there is none."""
        known = {job.id: job for job in self.jobs()}
        if identity not in known:
            raise MissingError("There is no job {job}: it may have been removed.", job=identity)
        return known[identity]

    def add(self, options: TrainingOptions, publish_to: Path | None = None) -> Job:
        """Queue a training and see to it that the queue runs.

        It writes into the job's own folder, whatever `output_dir` says; its LoRA is copied to
        `publish_to`. Raises UserError for options that cannot be trained.
        """
        validate(options)
        if publish_to is not None:
            self._check_name(options.output_name, publish_to)
        job = Job(self._new_folder(options.output_name))
        options.output_dir = str(job.folder)
        try:
            write_job(job.folder / "job.json", options)
            # The status comes last: a folder without one is not a job yet.
            status = Status(added=time.time(), publish_to=str(publish_to or ""))
            with written_beside(job.folder / "status.json") as beside:
                beside.write_text(json.dumps(asdict(status), indent=1), encoding="utf-8")
        except UserError:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
        self.ensure_running()
        return job

    def resume(self, job: Job) -> None:
        """Queue an unfinished job again, to go on where it was; raises UserError."""
        if job.state() not in UNFINISHED:
            raise UserError(
                "The job {job} is {state}: there is nothing to resume.",
                job=job.id,
                state=Message(job.state()),
            )
        job.note(phase="waiting", resume=job.can_resume, added=time.time(), exit_status=None)
        self.ensure_running()

    def remove(self, job: Job) -> None:
        """Delete a job with all its files, but not the copy of its LoRA."""
        if job.state() == "running":
            raise UserError("The job {job} is running: stop it first.", job=job.id)
        shutil.rmtree(job.folder)

    def running(self) -> Job | None:
        """The job that is being trained."""
        started = (job for job in self.jobs() if job.status.phase == "running")
        return next((job for job in started if job.state() == "running"), None)

    def waiting(self) -> list[Job]:
        """The jobs whose turn is to come."""
        return [job for job in self.jobs() if job.state() == "waiting"]

    def ensure_running(self) -> None:
        """Start the runner process where none is; one too many goes by itself."""
        self._runners = [runner for runner in self._runners if runner.poll() is None]
        if not is_held(self.folder / "runner.lock"):
            log = self.folder / "runner.log"
            self._runners.append(start_detached(self.python, ["queue", str(self.folder)], log))

    def _check_name(self, name: str, publish_to: Path) -> None:
        """Refuse a name under which there is a LoRA that no job here has published."""
        file = publish_to / f"{name}.safetensors"
        if not file.exists():
            return
        if Published(self.folder).owns(file):
            for job in self.jobs():
                if job.options.output_name == name and job.status.publish_to == str(publish_to):
                    return
        raise UserError(
            "There is a LoRA called {name} already: choose another name.",
            name=name,
            about="output_name",
        )

    def _new_folder(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for number in range(1, 1000):
            folder = self.folder / (f"{stamp}-{name}" + (f"-{number}" if number > 1 else ""))
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
        raise UserError("A thousand jobs in one second are too many.")


def run_queue(folder: Path) -> None:
    """Train the waiting jobs of a queue in turn; does nothing where another process does it."""
    queue = Queue(folder)
    # Looked at again after the lock is free: who added a job meanwhile saw it held.
    while queue.waiting():
        try:
            with hold(folder / "runner.lock", seconds=5):
                _end_orphans(queue)
                while waiting := queue.waiting():
                    _run(waiting[0])
        except HeldError:
            return


def _end_orphans(queue: Queue) -> None:
    """Take down the end of jobs whose runner died; wait for those that are trained still."""
    for job in queue.jobs():
        if job.status.phase == "running":
            while job.is_alive():
                _publish(job)
                time.sleep(LOOK_EVERY)
            job.note(phase="ended", ended=time.time(), unpublished=_publish(job))


def _run(job: Job) -> None:
    """Train one job to its end and take down how it ended."""
    kills = count_memory_kills()
    unknown: dict[str, Any] = {
        "exit_status": None,
        "memory_ran_out": False,
        "disk_full": False,
        "unpublished": {},
    }
    job.note(phase="running", started=time.time(), ended=0.0, **unknown)
    resume = ["--resume" if job.status.resume else "--overwrite"]
    arguments = ["train", str(job.folder / "job.json"), "--events", "json", *resume]
    arguments += ["--output_dir", str(job.folder)]  # which may have been moved since
    with job.log.open("ab") as log:
        process = subprocess.Popen(
            command_line(Path(sys.executable), arguments),
            cwd=ROOT,
            env={"GOMP_SPINCOUNT": SPIN_COUNT, **child_environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the events; events.jsonl keeps them
            stderr=log,
        )
    for _ in _while_running(process):
        _publish(job)
    CommandFolder(job.training_folder / "commands").take()  # those that came too late
    job.note(
        phase="ended",
        ended=time.time(),
        exit_status=process.returncode,
        memory_ran_out=count_memory_kills() > kills,
        disk_full=disk_is_full(job.folder),
        unpublished=_publish(job),
    )
    _learn_speed(job)


def _publish(job: Job) -> dict[str, Any]:
    """Publish the LoRA where it is new; what kept it from it."""
    try:
        job.publish()
    except UserError as error:
        return error.messages[0].as_json()
    return {}


def _learn_speed(job: Job) -> None:
    """Remember how fast this machine was, for the next estimate."""
    seconds = job.progress().seconds_a_step
    if seconds is not None:
        try:
            learn_speed(job.options, seconds, job.folder.parent)
        except (UserError, OSError):
            return  # an estimate less


def _while_running(process: subprocess.Popen[bytes]) -> Iterator[None]:
    while True:
        try:
            process.wait(LOOK_EVERY)
            return
        except subprocess.TimeoutExpired:
            yield


def command_line(python: Path, arguments: list[str]) -> list[str]:
    """What starts `python -m lib_rimo` with an interpreter."""
    return [str(python), "-m", "lib_rimo", *arguments]


def child_environment() -> dict[str, str]:
    """The environment variables of our processes: the interpreter has all that is needed."""
    return {**os.environ, "RIMO_ENVIRONMENT": "current"}


def start_detached(python: Path, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start `python -m lib_rimo` so that it stays when this process and its terminal go."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        return subprocess.Popen(
            command_line(python, arguments),
            cwd=ROOT,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            creationflags=flags,
            start_new_session=True,  # nothing on Windows
        )
