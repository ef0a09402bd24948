"""The files that the host's Lora extension knows, by the names that tags have."""

from pathlib import Path
from typing import Any


def entry_of(networks: Any, name: str) -> Any:
    """The host's entry of a LoRA file, by the name that a tag has; None without one."""
    if name.lower() in networks.forbidden_network_aliases:
        return networks.available_networks.get(name)
    return networks.available_network_aliases.get(name)


def find_file(networks: Any, name: str) -> None:
    """Let the host find a new file, to be called while its lock is held.

    Listing all files leaves none for a moment, in which the API says so: only where there is no
    other way.
    """
    if hasattr(networks, "update_available_networks_by_names"):
        networks.update_available_networks_by_names([name])
    else:
        networks.list_available_networks()


def forget_contents(networks: Any) -> None:
    """Drop what the host remembers of files' contents, where it remembers any."""
    load = getattr(networks, "load_lora_state_dict", None)
    cached = getattr(load, "cache_clear", None)
    if cached is not None:
        cached()


def can_be_read(path: Path) -> bool:
    """Whether a file can be opened; as Forge doesn't, where what fails is renamed."""
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            file.keys()
    except Exception:  # whatever is wrong with the file, it costs one tag only
        return False
    return True
