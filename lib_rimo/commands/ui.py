"""Open the Train tab and a small Generate tab in the browser, without any WebUI."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

HELP = "train and generate in the browser, without a WebUI"
NEEDS = "ui"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen and where to keep things."""
    parser.add_argument("--port", type=int, default=7870, help="port to listen on (7870)")
    parser.add_argument(
        "--listen", action="store_true", help="let other machines reach the page; set --auth too"
    )
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="ask visitors for a login")
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
    from lib_rimo.hosts.standalone import Standalone
    from lib_rimo.ui.standalone import serve

    login = tuple(arguments.auth.split(":", 1)) if arguments.auth else None
    if login is not None and len(login) != 2:
        raise UserError("--auth wants USER:PASSWORD.")
    host = Standalone(
        arguments.home.resolve(),
        [path.resolve() for path in arguments.models],
        is_shared=arguments.listen,
    )
    serve(host, arguments.port, login, open_browser=not arguments.no_browser)
    return 0
