"""AUTOMATIC1111's WebUI: block weights where its Lora extension asks for a layer's strength.

The built-in extension merges a LoRA layer by layer when a layer is about to be used, and keeps in
the layer which LoRAs, at which strengths, its weights hold. Rimo gives it strengths that know
their blocks, answers when it asks for a layer's own, and tells layers whose own strengths did not
change that they hold the new ones already.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

from lib_rimo.hosts.activation import ReadTag, not_found
from lib_rimo.hosts.multiplier import BlockMultiplier, strength_at
from lib_rimo.hosts.patches import Place
from lib_rimo.hosts.webui import ACTIVATE, WebUI
from lib_rimo.lora.blocks import block_of_key
from lib_rimo.messages import Message

# (name, text encoder's strength, UNet's strength, rank limit) of one LoRA that a layer holds
Merged = tuple[str, float, float, int | None]

# What the Lora extension appends to an attention's name for the parts of its joint projection.
_JOINT_PARTS = ("", "_q_proj", "_k_proj", "_v_proj", "_out_proj")


class A1111(WebUI):
    """The adapter for AUTOMATIC1111's WebUI."""

    name = "a1111"
    places = (
        Place("network", "NetworkModule.multiplier", 1),
        ACTIVATE,
    )
    networks_needed = (
        *WebUI.networks_needed,
        "loaded_networks",
        "networks_in_memory",
        "network_restore_weights_from_backup",
    )

    def __init__(self) -> None:
        super().__init__()
        self._timed: list[tuple[Any, ReadTag]] = []  # loaded LoRAs that act on some steps only

    def functions(self) -> Sequence[Callable[..., Any]]:
        """What stands in the places of the host's functions."""
        return self.multiplier, self.activate

    def multiplier(self, original: Callable[..., Any], module: Any) -> float:
        """The strength of a LoRA at one of its layers."""
        return strength_at(original(module), module.sd_key)

    def load(self, original: Callable[[], None], tags: Sequence[ReadTag]) -> list[Message]:
        """Let the host load the LoRAs of `tags`, with strengths that know their blocks."""
        self._timed = []
        with _said_once():
            original()
        messages: list[Message] = []
        has_blocks = any(read.tag.blocks is not None for read in tags)
        if has_blocks:
            _separate(self.networks.loaded_networks)
        loaded = list(self.networks.loaded_networks)
        for read in tags:
            tag = read.tag
            if not loaded or loaded[0].mentioned_name != tag.name:
                messages.append(not_found(read, self._names()))
                continue
            net = loaded.pop(0)
            if has_blocks:
                net.te_multiplier, net.unet_multiplier = self.multipliers(read)
            if tag.blocks is None:
                continue
            messages += tag.blocks.messages_on(self.blocks_of(net.modules), self.family, tag.name)
            if read.has_steps:
                self._timed.append((net, read))
        self._set_step(0)
        self._spare_unchanged_layers()
        return messages

    def before_step(self, steps_done: int) -> None:
        """Let LoRAs begin or end to act where a tag says so."""
        if self._timed and self._set_step(steps_done):
            self._spare_unchanged_layers()

    def _set_step(self, steps_done: int) -> bool:
        """Set the strengths of LoRAs that act on some steps; whether any changed."""
        before = [net.unet_multiplier for net, _ in self._timed]
        for net, read in self._timed:
            net.unet_multiplier = self.multiplier_at_step(read, steps_done)
        return before != [net.unet_multiplier for net, _ in self._timed]

    def _spare_unchanged_layers(self) -> None:
        """Tell layers that hold the wanted strengths already, so that they aren't merged again.

        Only where blocks are or were in play: all else stays the host's affair.
        """
        nets = self.networks.loaded_networks
        wanted = tuple((n.name, n.te_multiplier, n.unet_multiplier, n.dyn_dim) for n in nets)
        modules = [net.modules for net in nets]
        for name, layer in self._layers().items():
            merged = getattr(layer, "network_current_names", ())
            if (
                merged != wanted
                and (_has_blocks(merged) or _has_blocks(wanted))
                and _holds_same(name, merged, wanted, modules)
            ):
                layer.network_current_names = wanted

    def _layers(self) -> dict[str, Any]:
        """The checkpoint's modules by the names that the Lora extension gives them."""
        mapping: dict[str, Any] = getattr(self.shared.sd_model, "network_layer_mapping", {})
        return mapping

    def forget(self, name: str) -> None:
        """Drop what the host remembers of a LoRA whose file has been replaced."""
        self.networks.networks_in_memory.pop(name, None)
        for net in self.networks.loaded_networks:
            if net.name == name:
                net.mtime = 0.0  # older than any file: it will be read anew
        self.networks.list_available_networks()  # reads metadata and hash anew
        for layer in self._layers().values():
            if any(merged[0] == name for merged in getattr(layer, "network_current_names", ())):
                self.networks.network_restore_weights_from_backup(layer)
                layer.network_current_names = ()


@contextmanager
def _said_once() -> Iterator[None]:
    """Within it the host's word on missing files is kept back, for each tag gets a note of ours."""
    hijack = getattr(sys.modules.get("modules.sd_hijack"), "model_hijack", None)
    before = len(getattr(hijack, "comments", ()))
    yield
    if hijack is not None:
        said = hijack.comments[before:]
        hijack.comments[before:] = [text for text in said if not text.startswith("Lora not found:")]


def _separate(nets: list[Any]) -> None:
    """Give each tag of one LoRA a network of its own; the host has one strength for all of them."""
    for place, net in enumerate(nets):
        if net in nets[:place]:
            nets[place] = twin = copy(net)
            twin.modules = {key: copy(module) for key, module in net.modules.items()}
            for module in twin.modules.values():
                module.network = twin


def _has_blocks(merged: Sequence[Merged]) -> bool:
    return any(isinstance(strength, BlockMultiplier) for entry in merged for strength in entry[1:3])


def _holds_same(
    layer: str, merged: Sequence[Merged], wanted: Sequence[Merged], modules: Sequence[Any]
) -> bool:
    """Whether two ways to merge the same LoRAs are one for this layer."""
    if [(name, dyn) for name, _, _, dyn in merged] != [(name, dyn) for name, _, _, dyn in wanted]:
        return False
    for old, new, own in zip(merged, wanted, modules, strict=True):
        for part in _JOINT_PARTS:
            key = layer + part
            if key in own and _strength(old, key) != _strength(new, key):
                return False
    return True


def _strength(entry: Merged, key: str) -> float:
    _, te, unet, _ = entry
    return strength_at(te if block_of_key(key) == "BASE" else unet, key)
