"""The command line: `python -m lib_rimo VERB`."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import pkgutil
import sys

from lib_rimo import __version__, commands, environment, pytorch_build
from lib_rimo.errors import UserError
from lib_rimo.messages import write_messages
from lib_rimo.unforeseen import as_user_error


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, put up the environment the verb needs, and run it."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be text that it knows
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        write_messages(as_user_error(error).messages, sys.stderr)
        return 2 if isinstance(error, (UserError, OSError, UnicodeError)) else 1


def _run(arguments: list[str]) -> int:
    environment.check_python()
    parser = argparse.ArgumentParser(
        prog="python -m lib_rimo",
        description="From five pictures to a LoRA to a picture, steered block by block.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=(
            f"PyTorch is installed for {pytorch_build.chosen().name}; to choose, set "
            f"{pytorch_build.VARIABLE} to one of\n{', '.join(pytorch_build.builds())}, delete "
            ".venv and run a verb again."
        ),
    )
    parser.add_argument("--version", action="version", version=f"Rimo {__version__}")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs = {
        module.name: importlib.import_module(f"{commands.__name__}.{module.name}")
        for module in pkgutil.iter_modules(commands.__path__)
        if not module.name.startswith("_")
    }
    for verb, command in verbs.items():
        verb_parser = subparsers.add_parser(
            verb,
            help=command.HELP,
            description=command.__doc__ or command.HELP,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(verb_parser)
    if not arguments:
        parser.print_help()
        return 0
    passed_on: list[str] = []
    asks_help = arguments[1:] in (["-h"], ["--help"])  # installs nothing, whoever would answer
    if not asks_help and getattr(verbs.get(arguments[0]), "PASSES_ALL_ON", False):
        passed_on = arguments[1:]
    parsed = parser.parse_args(arguments[: len(arguments) - len(passed_on)])
    parsed.passed_on = passed_on
    command = verbs[parsed.verb]
    if not environment.is_brought_along():
        environment.prepare(getattr(command, "NEEDS", "trainer"))
        if not environment.is_active():
            return environment.run_inside(arguments)
    return int(command.run(parsed))


if __name__ == "__main__":
    sys.exit(main())
