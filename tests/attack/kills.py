"""Trainings that are killed at any moment, and go on to the very LoRA of an undisturbed one.

Each training is a process of its own, forked from one that has loaded all libraries and computed
nothing yet. It strikes itself, at a moment that does not depend on how busy the machine is.
"""

import errno
import gc
import io
import os
import random
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.lora.files import read_lora
from lib_rimo.training.config.job_file import training_folder
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.events import events_after
from lib_rimo.training.jobs.job import run_job
from tests.attack.tally import Tally

STEPS = 6
CALLS = 400_000
"""About as many calls of functions as such a training makes from the first step on."""
FILES = 40
"""About as often it opens, replaces or removes a file in its folder."""


@dataclass(frozen=True)
class Strike:
    """What befalls a training, and when."""

    kind: str
    """A signal's name; `cut` for a kill while a file is written, `full` for a disk that takes no
    more while one is, `no room` for one that takes no new file."""
    moment: str
    """`step`, `file` or `call`."""
    number: int
    """Of the step, of the use of a file or of the call, from 1; of the bytes that a file may have
    for `cut` and `full`."""
    twice: bool = False
    """A signal that is sent again at once."""


KINDS = ("SIGKILL", "SIGTERM", "cut", "SIGHUP", "full", "SIGKILL", "SIGINT", "no room", "cut")


def odd_strike(number: int, rng: random.Random) -> Strike:
    """One of them in turn; files are written in a small part of the time, and are looked for."""
    kind = KINDS[number % len(KINDS)]
    if kind in ("cut", "full"):
        return Strike(kind, "file", int(2 ** rng.uniform(8, 21)))
    moment = rng.choice(["step", "file", "file", "call"]) if kind != "no room" else "file"
    most = {"step": STEPS, "file": FILES, "call": CALLS}[moment]
    return Strike(kind, moment, rng.randint(1, most), rng.random() < 0.3)


def attack(count: int, seed: int, folder: Path) -> Tally:
    """`count` trainings, each struck once or twice and then resumed to its end.

    Lost is a state or a LoRA that had been saved; not identical a LoRA that differs in a bit.
    """
    tally = Tally()
    rng = random.Random(seed)
    options = _training(folder)
    whole = replace(options, output_dir=str(folder / "whole"))
    told = _in_a_process(lambda: run_job(whole))
    assert told.startswith("ended"), told
    expected = read_lora(folder / "whole" / "small.safetensors").tensors
    for number in range(count):
        tally.tried["trainings"] += 1
        own = replace(
            options,
            output_dir=str(folder / str(number)),
            save_state_every_n_steps=rng.choice([1, 1, 2, 3]),
            save_every_n_steps=rng.choice([0, 0, 2]),
        )
        strikes = [odd_strike(number, rng)]
        if rng.random() < 0.3:
            strikes.append(odd_strike(rng.randrange(len(KINDS)), rng))
        _kill_and_resume(own, strikes, expected, tally)
        shutil.rmtree(own.output_dir, ignore_errors=True)
    return tally


def _kill_and_resume(
    options: TrainingOptions, strikes: list[Strike], expected: dict, tally: Tally
) -> None:
    what = f"{options.output_dir[-3:]} {strikes}"
    told_of, output = training_folder(options) / "events.jsonl", Path(options.output_dir)
    kept, position, loras = 0, 0, set[str]()
    for number, strike in enumerate([*strikes, None]):
        train = partial(run_job, options, resume=number > 0)
        told = _in_a_process(train, strike, output) if strike else _in_a_process(train)
        # Of this run alone: one that found no state begins anew, and tells of the same steps.
        events, position = events_after(told_of, position)
        if kept and (begun := first_step(events)) is not None and kept > begun:
            tally.fail("lost", f"the state of step {kept}, went on from {begun}: {what}")
        is_saved = told.startswith("ended")
        kept = max(kept, state_kept(events, options.save_state_every_n_steps, is_saved))
        loras |= {event["path"] for event in events if event["kind"] == "saved"}
        for lora in loras:
            if not _is_whole(Path(lora)):
                tally.fail("lost", f"{lora}: {what}")
        if strike:
            tally.tried[strike.kind] += 1
            if told.startswith("unforeseen"):
                tally.fail("exceptions", f"{told[-400:]}: {what}")
        elif not is_saved:
            tally.fail("lost", f"cannot go on, {told[-400:]}: {what}")
            return
    if left := [*output.rglob(".*.part")]:
        tally.fail("lost", f"room, to {left}: {what}")
    tensors = read_lora(output / "small.safetensors").tensors
    if tensors.keys() != expected.keys() or not all(
        torch.equal(tensor, expected[name]) for name, tensor in tensors.items()
    ):
        tally.fail("not identical", what)


def state_kept(events: list[dict], every: int, is_saved: bool) -> int:
    """The last step whose state one run surely saved; 0 where it saved none.

    Surely saved is a state that was due, once another step is told of, and the last one of a run
    that says by how it ends that it `is_saved`.
    """
    steps = [event["step"] for event in events if event["kind"] == "progress"]
    if is_saved:
        return max(steps, default=0)
    return max((step for step in steps[:-1] if step % every == 0), default=0)


def first_step(events: list[dict]) -> int | None:
    """The step one run went on from, 0 where it began anew; None where it never came so far."""
    for event in events:
        if event["kind"] == "resumed":
            return int(event["step"])
        if event["kind"] == "progress":
            return int(event["step"]) - 1
    return None


def _is_whole(lora: Path) -> bool:
    try:
        return bool(read_lora(lora).tensors)
    except (UserError, OSError):
        return False


def _training(folder: Path) -> TrainingOptions:
    """A training of some steps that takes a second, on a narrow model and small pictures."""
    model, pictures = folder / "narrow.safetensors", folder / "pictures"
    pictures.mkdir()
    told = _in_a_process(lambda: _write_model(model))
    assert told.startswith("ended"), told
    rng = np.random.default_rng(0)
    for number in range(3):
        squares = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(squares).resize((64, 64), 0).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text("rimochan, 1girl")
    return TrainingOptions(
        pretrained_model_name_or_path=str(model),
        train_data_dir=str(pictures),
        output_name="small",
        resolution="64",
        min_bucket_reso=64,
        max_train_steps=STEPS,
        network_dim=4,
        unet_lr=1e-3,
        text_encoder_lr=1e-3,
        save_precision="float",
        device="cpu",
    )


def _write_model(path: Path) -> None:
    from tests.sd.narrow import write_narrow_checkpoint

    write_narrow_checkpoint(path, "sd1")


def _in_a_process(work: Callable, strike: Strike | None = None, watched: Path = Path()) -> str:
    """Do something in a forked process; how it ended, in words.

    `ended` and what it gave, `refused` and what the user is told, `unforeseen` with a traceback,
    or `killed` and by which signal.
    """
    import threading

    assert threading.active_count() == 1, threading.enumerate()  # others would not be forked
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        said = "unforeseen"
        try:
            gc.freeze()
            torch.set_num_threads(1)
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                undo = _arm(strike, watched) if strike else lambda: None
                said = f"ended {work()}"
                undo()
        except UserError as error:
            said = f"refused {error}"
        except KeyboardInterrupt:
            said = "interrupted"
        except BaseException:
            said = f"unforeseen {traceback.format_exc()}"
        os.write(writing, said.encode(errors="replace")[-4000:])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"killed {signal.Signals(os.WTERMSIG(status)).name}"
    return said


def _arm(strike: Strike, watched: Path) -> Callable[[], None]:
    """Have this process strike itself; the function that it gives takes that back."""
    if strike.kind in ("cut", "full"):
        cuts = strike.kind == "cut"
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if cuts else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (strike.number, resource.RLIM_INFINITY))
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1
        if strike.kind == "no room":
            if counted >= strike.number:
                raise OSError(errno.ENOSPC, "No space left on device")
        elif counted == strike.number:
            for _ in range(1 + strike.twice):
                os.kill(os.getpid(), getattr(signal, strike.kind))

    def at_call(frame, event, argument) -> None:
        if event in ("call", "c_call"):
            count()

    def at_file(event: str, arguments: tuple) -> None:
        if event in ("open", "os.rename", "os.remove") and str(watched) in str(arguments[0]):
            writes = event != "open" or set("wax+") & set(str(arguments[1] or ""))
            if writes or strike.kind != "no room":
                count()

    if strike.moment == "step":
        from lib_rimo.training import loop

        original = loop.train_step

        def after_step(trainer) -> None:
            original(trainer)
            count()

        loop.train_step = after_step
    elif strike.moment == "file":
        sys.addaudithook(at_file)
    else:
        sys.setprofile(at_call)
    return lambda: None
