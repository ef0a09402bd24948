"""The WebUI runs this at each start: it prepares the trainer's own libraries, once.

They go into a folder of the extension; the WebUI's environment stays as it is. Whatever happens
here, the WebUI starts, and block weights need none of it. It takes minutes, and a WebUI holds back
what is printed here until the end: so a process of its own does it, and the pages tell how far it
is. With `--now` it is done at once.
"""

import subprocess
import sys

from lib_rimo.errors import UserError
from lib_rimo.hosts.environment import MEGABYTES, TrainerEnvironment


def main() -> None:
    """Install what is missing, but nothing as large as torch unasked."""
    environment = TrainerEnvironment()
    if environment.is_ready():
        return
    if environment.is_apart():
        print(
            "Rimo: the trainer cannot use this WebUI's libraries. Block weights work; the Train "
            "tab offers to install libraries of the trainer's own (about 3 GB)."
        )
        return
    if "--now" not in sys.argv:
        print(
            f"Rimo: installing the trainer's libraries (about {MEGABYTES} MB) into the extension's "
            "folder, once; the Train tab tells how far it is."
        )
        quiet = subprocess.DEVNULL
        command = [sys.executable, __file__, "--now"]
        subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
        return
    try:
        environment.prepare()
    except UserError as error:
        print(f"Rimo: {error}")


if __name__ == "__main__":
    main()
