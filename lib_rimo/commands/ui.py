"""Open the Train tab and a small Generate tab in the browser, without any WebUI."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

HELP = "train and generate in the browser, without a WebUI"
NEEDS = "ui"
PASSWORD = "RIMO_PASSWORD"
"""An environment variable; it is taken out before trainings are started, which would inherit it."""
USER = "rimo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen and where to keep things."""
    parser.add_argument("--port", type=int, default=7870, help="port to listen on (7870)")
    parser.add_argument(
        "--listen", action="store_true", help="let other machines reach the page, with a login"
    )
    parser.add_argument(
        "--auth",
        metavar="USER[:PASSWORD]",
        help=f"ask visitors for a login; better give the password as {PASSWORD} in the "
        "environment, where no list of processes shows it",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="--listen without a login: whoever comes may train"
    )
    parser.add_argument(
        "--home",
        type=Path,
        default=Path("rimo"),
        metavar="FOLDER",
        help="where pictures, jobs, models and LoRAs are kept (./rimo)",
    )
    parser.add_argument(
        "--models",
        type=Path,
        nargs="*",
        default=[],
        metavar="PATH",
        help="more base models: files or folders",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl+C."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from lib_rimo.errors import UserError

    if not 0 < arguments.port < 65536:
        raise UserError("--port is {port}: use one from 1024 to 65535.", port=arguments.port)
    login = read_login(arguments.auth, os.environ.pop(PASSWORD, ""))
    if arguments.listen and login is None and not arguments.insecure:
        raise UserError(
            "--listen lets every machine of the network in: set a password in {setting}, or add "
            "--insecure if that is meant.",
            setting=PASSWORD,
        )
    from lib_rimo.hosts.standalone import Standalone
    from lib_rimo.ui.standalone import serve

    host = Standalone(
        arguments.home.resolve(),
        [path.resolve() for path in arguments.models],
        is_shared=arguments.listen,
        has_login=login is not None,
    )
    serve(host, arguments.port, login, open_browser=not arguments.no_browser)
    return 0


def read_login(given: str | None, password: str) -> tuple[str, str] | None:
    """User and password of `--auth` and of the environment; none where neither asks for any.

    Raises UserError where one of them is missing.
    """
    from lib_rimo.errors import UserError

    if given is None and not password:
        return None
    user, colon, told = (given if given is not None else USER).partition(":")
    password = told if colon else password
    if not user.strip() or not password.strip():
        raise UserError(
            "A login needs a user and a password: --auth USER:PASSWORD, or --auth USER with the "
            "password in {setting}.",
            setting=PASSWORD,
        )
    return user.strip(), password
