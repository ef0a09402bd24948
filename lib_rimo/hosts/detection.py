"""Which host this is, and the adapter for it."""

import sys
from pathlib import Path

from lib_rimo.hosts.base import Host


def detect(webui: Path) -> str | None:
    """Which host a WebUI's root folder holds: "a1111", "forge", or None for an unknown one.

    Told by what is there: forks share version tags with what they came from.
    """
    if (webui / "modules_forge").is_dir():
        return "forge" if (webui / "backend").is_dir() else None
    return "a1111" if (webui / "modules").is_dir() else None


def connect(webui: Path) -> Host | None:
    """The adapter for the WebUI with that root folder, not installed yet.

    None when the WebUI is an unknown one, or its Lora extension is switched off.
    """
    host = detect(webui) if "extra_networks_lora" in sys.modules else None
    if host == "a1111":
        from lib_rimo.hosts.a1111 import A1111

        return A1111()
    if host == "forge":
        from lib_rimo.hosts.forge import Forge

        return Forge()
    return None
