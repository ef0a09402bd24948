"""The WebUI runs this at each start: it prepares the trainer's own libraries, once.

They go into a folder of the extension; the WebUI's environment stays as it is. Whatever happens
here, the WebUI starts, and block weights need none of it.
"""

from lib_rimo.errors import UserError
from lib_rimo.hosts.environment import TrainerEnvironment


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
    print("Rimo: installing the trainer's libraries into the extension's folder, once ...")
    try:
        environment.prepare()
    except UserError as error:
        print(f"Rimo: {error}")


if __name__ == "__main__":
    main()
