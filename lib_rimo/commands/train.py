"""Train a LoRA.

Give a job file (TOML or JSON with kohya's option names), or options, or both: options win.
    python -m lib_rimo train --train_data_dir pictures --pretrained_model_name_or_path M.safetensors
trains the recipe for few pictures; --recipe chooses another, beneath what is given. The LoRA is
written to output_dir/output_name.safetensors; beside it a folder output_name.job keeps events,
commands and the state for --resume.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.training.config.built_in import BUILT_IN, FEW_PICTURES, options_of
from lib_rimo.training.config.declaration import option_type
from lib_rimo.training.config.options import GROUPS, TrainingOptions

HELP = "train a LoRA on a folder of pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One argument for each declared option, in the options' groups."""
    parser.add_argument("job", nargs="?", type=Path, help="job file, .toml or .json")
    parser.add_argument(
        "--resume", action="store_true", help="go on where the run of this name was stopped"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="start again over a run of this name"
    )
    parser.add_argument(
        "--recipe",
        choices=tuple(BUILT_IN),
        default=FEW_PICTURES,
        help="what holds where neither job file nor options say anything (default: %(default)s)",
    )
    parser.add_argument(
        "--events",
        choices=("bar", "json"),
        default="bar",
        help="what to print: a progress bar, or every event as a line of JSON",
    )
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for declared in dataclasses.fields(TrainingOptions):
        kind, _ = option_type(declared)
        choices = declared.metadata["choices"]
        settings: dict[str, Any] = {"default": argparse.SUPPRESS}
        if kind is bool:
            settings |= {"nargs": "?", "const": "true", "metavar": "BOOL"}
        elif kind is list:
            settings |= {"nargs": "*", "metavar": "NAME=VALUE"}
        else:
            settings["metavar"] = "|".join(choices) if choices else kind.__name__.upper()
        text = f"{declared.metadata['help']} (default: {_default(declared)})".replace("%", "%%")
        groups[declared.metadata["group"]].add_argument(f"--{declared.name}", help=text, **settings)


def run(arguments: argparse.Namespace) -> int:
    """Train; 0 also after a stop that was asked for."""
    from lib_rimo.sd.native import native_of
    from lib_rimo.training.config.documents import read_mapping
    from lib_rimo.training.config.job_file import from_mapping
    from lib_rimo.training.events import print_json
    from lib_rimo.training.jobs.console import console_sink
    from lib_rimo.training.jobs.estimate import find_shortage
    from lib_rimo.training.jobs.job import run_job
    from lib_rimo.training.proposal import propose_other_backgrounds
    from lib_rimo.training.validation import find_stale

    given = read_mapping(arguments.job) if arguments.job else {}
    names = {declared.name for declared in dataclasses.fields(TrainingOptions)}
    given |= {name: value for name, value in vars(arguments).items() if name in names}
    base = Path(from_mapping(given)[0].pretrained_model_name_or_path)
    native = None
    with suppress(UserError):  # told with all other faults
        native = native_of(base)
    options, messages = from_mapping({**options_of(arguments.recipe, native), **given})
    if not (arguments.resume or arguments.overwrite):
        _refuse_to_overwrite(options)
    messages += find_stale(options)
    if proposal := propose_other_backgrounds(options):
        messages.append(proposal)
    if shortage := find_shortage(options):
        messages.append(shortage)
    run_job(
        options,
        [print_json if arguments.events == "json" else console_sink()],
        messages=messages,
        resume=arguments.resume,
        is_main=_is_main_process(),
    )
    return 0


def _refuse_to_overwrite(options: TrainingOptions) -> None:
    """Raise UserError, with the commands to choose from, where a run of this name has saved."""
    from lib_rimo.training.config.job_file import has_state, training_folder
    from lib_rimo.training.config.names import check_name

    folder = training_folder(options)
    # A name that no file can have is refused with all other faults.
    if check_name(options.output_name) or not has_state(folder):
        return
    command = ["python", "-m", "lib_rimo", *sys.argv[1:]]
    raise UserError(
        "{name} was trained before and has saved in {folder}. To go on: {resume} - to start again "
        "over it: {overwrite} - or choose another output_name.",
        name=options.output_name,
        folder=folder,
        resume=shlex.join([*command, "--resume"]),
        overwrite=shlex.join([*command, "--overwrite"]),
        about="output_name",
    )


def _default(declared: dataclasses.Field[Any]) -> str:
    if declared.default in (None, "", dataclasses.MISSING):
        return "none"
    return str(declared.default)


def _is_main_process() -> bool:
    """Whether this is the only process or the first that `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"
