"""Everything in the host that Rimo replaces, and how the host's own is put back."""

import functools
from collections.abc import Callable
from typing import Any


class Patches:
    """Functions of the host in whose place Rimo's stand."""

    def __init__(self) -> None:
        self._undoing: list[Callable[[], None]] = []

    def replace(self, owner: Any, name: str, function: Callable[..., Any]) -> None:
        """Put `function` in place of `owner.name`; its first argument is the host's own one."""
        original = getattr(owner, name)
        standing = True

        @functools.wraps(original)
        def replacement(*arguments: Any, **named: Any) -> Any:
            if standing:
                return function(original, *arguments, **named)
            return original(*arguments, **named)

        def undo() -> None:
            # Another extension may have put its own on top of ours: then ours stays there, inert.
            nonlocal standing
            standing = False
            if getattr(owner, name) is replacement:
                setattr(owner, name, original)

        setattr(owner, name, replacement)
        self._undoing.append(undo)

    def undo(self) -> None:
        """Put the host's own functions back."""
        while self._undoing:
            self._undoing.pop()()


def patch_a1111(host: Any) -> Patches:
    """Take over in AUTOMATIC1111's WebUI; `host` is a `lib_rimo.hosts.a1111.A1111`."""
    patches = Patches()
    patches.replace(host.extra_networks_lora.ExtraNetworkLora, "activate", host.activate)
    patches.replace(host.network.NetworkModule, "multiplier", host.multiplier)
    return patches


def patch_forge(host: Any) -> Patches:
    """Take over in Forge; `host` is a `lib_rimo.hosts.forge.Forge`."""
    patches = Patches()
    patches.replace(host.extra_networks_lora.ExtraNetworkLora, "activate", host.activate)
    patches.replace(host.networks, "load_networks", host.load_networks)
    patches.replace(host.lora.LoraLoader, "refresh", host.refresh)
    return patches
