"""Forge: block weights in the lists of patches that it merges into a model's weights.

Forge's Lora extension puts a LoRA's patches into its models under an identity that holds the
strength, each with a strength of its own, and merges all of them anew whenever the identities read
differently. Rimo puts strengths that know their blocks into the identities of what was loaded, so
that they differ when the blocks do, sets the strengths of the single patches, and keeps weights
whose patches did not change out of the merging.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from lib_rimo.hosts.activation import ReadTag, text_encoder_part
from lib_rimo.hosts.forge_family import ForgeFamily, patcher_of
from lib_rimo.hosts.multiplier import (
    BlockMultiplier,
    TagMultiplier,
    multiplier_of,
    strength_at,
)
from lib_rimo.hosts.patches import Place
from lib_rimo.hosts.webui import ACTIVATE
from lib_rimo.messages import Message
from lib_rimo.weights.block_weights import BlockWeights

# (file, strength, the model's own strength, whether it stays unmerged) -> weight's key -> patches;
# a patch is [strength, tensors, the model's own strength, offset, function]
LoraPatches = dict[tuple[str, float, float, bool], dict[str, list[list[Any]]]]

# What is merged into one weight, in order: (file, strength, the model's own strength, offset)
Merged = tuple[tuple[Any, ...], ...]


class Forge(ForgeFamily):
    """The adapter for Forge."""

    name = "forge"
    places = (
        Place("backend.patcher.lora", "LoraLoader.refresh", 1, ("lora_patches", "offload_device")),
        ACTIVATE,
        Place("networks", "load_networks", 3),
    )

    def __init__(self) -> None:
        super().__init__()
        # LoRAs that act on some steps only: (file, UNet's strength at first, tag)
        self._timed: list[tuple[str, float, ReadTag]] = []
        # model's loader -> what it has merged into each weight, and whether blocks were in play
        self._merged: WeakKeyDictionary[Any, tuple[dict[str, Merged], bool]] = WeakKeyDictionary()

    def functions(self) -> Sequence[Callable[..., Any]]:
        """What stands in the places of the host's functions."""
        return self.refresh, self.activate, self.load_networks

    def load(self, original: Callable[[], None], tags: Sequence[ReadTag]) -> list[Message]:
        """Let the host load the LoRAs of `tags`, with strengths that know their blocks."""
        self._timed = []
        self.load_originally(original, tags)
        messages = self.messages_on_ranks(tags)
        for read in tags:
            if read.tag.blocks is None:
                continue
            present = self.blocks_of(list(self._weights_of(read.tag.name)))
            messages += read.tag.blocks.messages_on(present, self.family, read.tag.name)
        return messages

    def load_networks(
        self,
        original: Callable[..., Any],
        names: Sequence[str],
        te_multipliers: Sequence[float],
        unet_multipliers: Sequence[float],
        *dyn_dims: Sequence[int | None],
    ) -> None:
        """Load LoRAs; the host's function that a prompt's tags end in.

        The host matches a file's keys with its models anew whenever a strength reads differently.
        So it gets plain numbers, and what it has loaded learns here which blocks they are for.
        """
        te, unet = list(te_multipliers), list(unet_multipliers)
        files = [self._file_of(read) for read in self._loading]
        with_blocks = {
            file
            for file, read in zip(files, self._loading, strict=True)
            if read.tag.blocks is not None
        }
        alone: dict[str, tuple[float, float]] = {}  # file with one tag -> strengths of its models
        for index, read in self.tags_loaded(names, te_multipliers, unet_multipliers):
            file = self._file_of(read)
            own = self._multipliers_apart(read)
            if files.count(file) == 1:
                alone[file] = own
            elif file in with_blocks:  # of equal strengths the host would take one
                own = te[index], unet[index] = (
                    self._for_one_tag(own[0], str(index)),
                    self._for_one_tag(own[1], str(index)),
                )
            if read.has_steps:
                self._timed.append((file, own[1], read))
        original(names, te, unet, *dyn_dims)

        def strength_of(number: int, file: str, strength: float) -> float:
            if file in alone:
                return alone[file][number]
            return strength if file in files else float(strength)

        self._set_strengths("clip", partial(strength_of, 0))
        self._set_strengths("unet", partial(strength_of, 1))

    def _multipliers_apart(self, read: ReadTag) -> tuple[float, float]:
        """(text encoder's, UNet's) strength; other blocks of the UNet leave the former equal."""
        te, unet = self.multipliers(read)
        if isinstance(te, BlockMultiplier):
            te = multiplier_of(float(te), text_encoder_part(te.blocks), self.family)
        return te, unet

    def _for_one_tag(self, strength: float, tag: str) -> TagMultiplier:
        blocks = strength.blocks if isinstance(strength, BlockMultiplier) else BlockWeights()
        return TagMultiplier(float(strength), blocks, self.family, tag)

    def _file_of(self, read: ReadTag) -> str:
        return str(self.on_disk(read.tag.name).filename)

    def _set_strengths(self, name: str, strength_of: Callable[[str, float], float]) -> None:
        """Give each (file, strength) in the UNet or the text encoder another strength."""
        objects = getattr(self.shared.sd_model, "forge_objects_after_applying_lora", None)
        model = getattr(objects, name, None)
        if model is None:
            return
        patches = patcher_of(model).lora_patches
        changed = _with_strengths(patches, strength_of)
        if list(changed) != list(patches):
            # Forge merges into a model when its patcher is not the one that was there before.
            fresh = model.clone()
            # A picture begins with the one, a refiner goes on with the other.
            for holder in (objects, self.shared.sd_model.forge_objects):
                if getattr(holder, name) is model:
                    setattr(holder, name, fresh)
            model = fresh
        patcher_of(model).lora_patches = changed

    def _patchers(self) -> Iterator[Any]:
        """The models that LoRAs have been put into: UNet and text encoder."""
        objects = getattr(self.shared.sd_model, "forge_objects_after_applying_lora", None)
        if objects is not None:
            yield objects.unet
            if objects.clip is not None:
                yield patcher_of(objects.clip)

    def _weights_of(self, name: str) -> Iterator[str]:
        """The keys of the weights that a loaded LoRA changes."""
        filename = self.on_disk(name).filename
        for patcher in self._patchers():
            for (file, *_), patches in patcher.lora_patches.items():
                if file == filename:
                    yield from patches

    def before_step(self, steps_done: int) -> None:
        """Let LoRAs begin or end to act where a tag says so."""
        if not self._timed:
            return
        strengths: dict[tuple[str, float], float] = {}
        for file, first, read in self._timed:
            now = self.multiplier_at_step(read, steps_done)
            if isinstance(first, TagMultiplier):
                now = self._for_one_tag(now, first.tag)
            strengths[file, first] = now
        unet = self.shared.sd_model.forge_objects_after_applying_lora.unet
        unet.lora_loader.refresh(
            lora_patches=_with_strengths(
                unet.lora_patches, lambda *identity: strengths.get(identity, identity[1])
            ),
            offload_device=unet.offload_device,
        )

    def refresh(
        self, original: Callable[..., Any], loader: Any, lora_patches: LoraPatches, **options: Any
    ) -> None:
        """Merge patches into a model's weights; the host's function, which merges all of them."""
        if str(list(lora_patches)) == loader.loaded_hash:
            original(loader, lora_patches, **options)
            return
        wanted, has_blocks = _merged_by(lora_patches), _has_blocks(lora_patches)
        merged, had_blocks = self._merged.pop(loader, ({}, False))
        spared = {
            key: loader.backup.pop(key)
            for key in list(loader.backup)
            # all else stays the host's affair
            if (has_blocks or had_blocks) and key in merged and merged[key] == wanted.get(key)
        }
        changed = {
            identity: {key: entries for key, entries in patches.items() if key not in spared}
            for identity, patches in lora_patches.items()
        }
        try:
            original(loader, changed, **options)
        finally:
            loader.backup.update(spared)
        self._merged[loader] = wanted, has_blocks

    def _let_load_anew(self) -> None:
        super()._let_load_anew()
        for patcher in self._patchers():
            patcher.lora_loader.loaded_hash = ""
            self._merged.pop(patcher.lora_loader, None)


def _has_blocks(patches: LoraPatches) -> bool:
    return any(isinstance(strength, BlockMultiplier) for _, strength, _, _ in patches)


def _with_strengths(
    lora_patches: LoraPatches, strength_of: Callable[[str, float], float]
) -> LoraPatches:
    """The same patches with the strengths that `strength_of` gives for a (file, strength)."""
    changed: LoraPatches = {}
    for (file, strength, model, online), patches in lora_patches.items():
        now = strength_of(file, strength)
        if isinstance(now, BlockMultiplier) or now != strength:
            patches = {
                key: [[strength_at(now, key), *entry[1:]] for entry in entries]
                for key, entries in patches.items()
            }
        changed[file, now, model, online] = patches
    return changed


def _merged_by(lora_patches: LoraPatches) -> dict[str, Merged]:
    """What will be merged into each weight; nothing where some patches stay unmerged."""
    merged: dict[str, Merged] = {}
    for (file, _, _, online), patches in lora_patches.items():
        if online:
            return {}
        for key, entries in patches.items():
            parts = tuple((file, entry[0], entry[2], entry[3]) for entry in entries)
            merged[key] = merged.get(key, ()) + parts
    return merged
