"""Forge's forks whose merging function is told the layer: reForge, Forge Classic, Forge Neo.

Their own loading carries a strength that knows its blocks, since it copies what it is given into
each patch; and the one function that merges, which gets a weight's patches together with the
weight's key, asks it for that layer's.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lib_rimo.hosts.activation import ReadTag, tell
from lib_rimo.hosts.forge_family import ForgeFamily, patcher_of
from lib_rimo.hosts.model_memory import loaded_patchers
from lib_rimo.hosts.multiplier import BlockMultiplier, TagMultiplier, strength_at
from lib_rimo.hosts.patches import Place
from lib_rimo.hosts.webui import ACTIVATE
from lib_rimo.lora.blocks import place_of_key
from lib_rimo.messages import Message
from lib_rimo.weights.block_weights import BlockWeights

# What is merged into a weight: (strength, tensors, the model's own strength, ...)
Patch = Sequence[Any]


class ForgeFork(ForgeFamily):
    """The common part of the forks' adapters."""

    def __init__(self) -> None:
        super().__init__()
        self._loaded: list[ReadTag] = []  # those with blocks
        # the UNet's strengths of LoRAs that act on some steps only -> what they are at this step
        self._now: dict[float, float] = {}
        self._asked: set[float] = set()  # strengths that merging has asked for a layer's

    def functions(self) -> Sequence[Callable[..., Any]]:
        """What stands in the places of the host's functions."""
        return self.merge, self.activate, self.load_networks

    def load(self, original: Callable[[], None], tags: Sequence[ReadTag]) -> list[Message]:
        """Let the host load the LoRAs of `tags`, with strengths that know their blocks."""
        self.load_originally(original, tags)
        self._loaded = [read for read in tags if read.has_steps or read.tag.blocks is not None]
        self.before_step(0)
        messages = self.messages_on_ranks(tags)
        for read in self._loaded:
            layers = list(self._layers_of(read))
            if not layers and self._is_merged_elsewhere():
                messages.append(_goes_round(read))
            elif read.tag.blocks is not None:
                present = self.blocks_of(layers)
                messages += read.tag.blocks.messages_on(present, self.family, read.tag.name)
        return messages

    def load_networks(
        self,
        original: Callable[..., Any],
        names: Sequence[str],
        te_multipliers: Sequence[float],
        unet_multipliers: Sequence[float],
        *others: Any,
    ) -> None:
        """Load LoRAs; the host's function that a prompt's tags end in, less those of strength 0."""
        te, unet = list(te_multipliers), list(unet_multipliers)
        for index, read in self.tags_loaded(names, te_multipliers, unet_multipliers):
            te[index], unet[index] = self._strengths_of(read)
        original(names, te, unet, *others)

    def merge(
        self,
        original: Callable[..., Any],
        patches: Sequence[Patch],
        weight: Any,
        key: str,
        *more: Any,
        **options: Any,
    ) -> Any:
        """Merge patches into a weight; the host's function, which knows one strength a patch."""
        return original(self._at_layer(patches, key), weight, key, *more, **options)

    def _at_layer(self, patches: Sequence[Patch], key: str) -> Sequence[Patch]:
        """The same patches with the strengths that they have at a layer now."""
        if not any(isinstance(patch[0], BlockMultiplier) for patch in patches if patch):
            return patches
        self._asked.update(patch[0] for patch in patches)
        return [(self._strength_at(patch[0], key), *patch[1:]) for patch in patches]

    def _strength_at(self, strength: float, key: str) -> float:
        # The prompt is encoded before any step.
        if place_of_key(key, self.family)[0] not in ("BASE", "T5"):
            strength = self._now.get(strength, strength)
        return strength_at(strength, key)

    def _strengths(self) -> Iterator[tuple[str, float]]:
        """(key of a weight, strength) of each patch of the current picture's models."""
        objects = getattr(self.shared.sd_model, "forge_objects_after_applying_lora", None)
        objects = objects or getattr(self.shared.sd_model, "forge_objects", None)
        for model in (getattr(objects, "unet", None), getattr(objects, "clip", None)):
            if model is not None:
                yield from _strengths_in(patcher_of(model))

    def _layers_of(self, read: ReadTag) -> Iterator[str]:
        """The keys of the weights that a loaded LoRA changes."""
        own = self._strengths_of(read)
        return (key for key, strength in self._strengths() if strength in own)

    def _strengths_of(self, read: ReadTag) -> tuple[float, float]:
        """(text encoder's, UNet's) strength of a LoRA, as the host gets it."""
        te, unet = self.multipliers(read)
        if read.has_steps:
            blocks = read.tag.blocks or BlockWeights()
            unet = TagMultiplier(float(unet), blocks, self.family, read.text)
        return te, unet

    def _is_merged_elsewhere(self) -> bool:
        """Whether LoRAs go into a quantised model that takes them whole, as in Forge Neo."""
        unet = self.shared.sd_model.forge_objects.unet
        network = getattr(unet.model, "diffusion_model", None)
        options = getattr(unet, "model_options", {}).get("transformer_options", {})
        return bool(getattr(network, "loras", None) or options.get("dynamic_loras"))

    def before_step(self, steps_done: int) -> None:
        """Let LoRAs begin or end to act where a tag says so."""
        before = self._now
        self._now = {
            self._strengths_of(read)[1]: self.multiplier_at_step(read, steps_done)
            for read in self._loaded
            if read.has_steps
        }
        changed = {
            strength
            for strength in {*before, *self._now}
            if before.get(strength, strength) != self._now.get(strength, strength)
        }
        if changed:
            for patcher in loaded_patchers(self.shared.sd_model.forge_objects.unet):
                self._merge_again(patcher, changed)

    def _merge_again(self, patcher: Any, changed: set[float]) -> None:
        """Merge the weights anew in which a patch's strength has changed.

        Weights that the host merges each time they are used, it will ask for by itself.
        """
        import torch

        with torch.inference_mode():
            for key, kept in patcher.backup.items():
                patches = patcher.patches.get(key, ())
                if any(patch[0] in changed for patch in patches):
                    weight = _parameter(patcher.model, key)
                    own = getattr(kept, "weight", kept)  # the model's, as the host keeps it
                    merged = self.merged(
                        patcher, key, own.to(weight.device, torch.float32, copy=True)
                    )
                    weight.copy_(merged)

    def merged(self, patcher: Any, key: str, weight: Any) -> Any:
        """A weight with its patches, by the host's own function."""
        merge = getattr(self.places[0].owner(), self.places[0].name)
        return merge(patcher.patches[key], weight, key)

    def _before_denoising(self, params: Any) -> None:
        super()._before_denoising(params)
        if params.sampling_step != 1:
            return
        # Every layer has been used once: what nobody asked for by now has gone round us.
        for read in self._loaded:
            own = [
                strength
                for strength in self._strengths_of(read)
                if isinstance(strength, BlockMultiplier)
            ]
            if own and any(self._layers_of(read)) and not self._asked.intersection(own):
                self._asked.update(own)  # to say it once
                _tell_late(params, _goes_round(read))


class ReForge(ForgeFork):
    """The adapter for reForge's branch main."""

    name = "reforge"
    places = (
        Place("ldm_patched.modules.lora", "calculate_weight", 3),
        ACTIVATE,
        Place("networks", "load_networks", 3),
    )


class ForgeNeo(ForgeFork):
    """The adapter for Forge Neo since it has no LoraLoader; before, it is as Forge."""

    name = "neo"
    places = (
        # where it is used: it is imported there by its name
        Place("backend.patcher.base", "merge_lora_to_weight", 3),
        ACTIVATE,
        Place("networks", "load_networks", 3),
    )


class ForgeClassic(ForgeFork):
    """The adapter for Forge Classic, whose merging is a method."""

    name = "classic"
    places = (
        Place("ldm_patched.modules.model_patcher", "ModelPatcher.calculate_weight", 4),
        ACTIVATE,
        Place("networks", "load_networks", 3),
    )

    def functions(self) -> Sequence[Callable[..., Any]]:
        """What stands in the places of the host's functions."""
        return self.merge_in, self.activate, self.load_networks

    def merge_in(
        self,
        original: Callable[..., Any],
        patcher: Any,
        patches: Sequence[Patch],
        weight: Any,
        key: str,
    ) -> Any:
        """Merge patches into a weight of a patcher's model."""
        return original(patcher, self._at_layer(patches, key), weight, key)

    def merged(self, patcher: Any, key: str, weight: Any) -> Any:
        """A weight with its patches, by the host's own method."""
        return patcher.calculate_weight(patcher.patches[key], weight, key)


def _strengths_in(patcher: Any) -> Iterator[tuple[str, float]]:
    for key, patches in patcher.patches.items():
        for patch in patches:
            yield key, patch[0]
    # Forge Neo's, that are merged whenever a layer is used
    for key, functions in getattr(patcher, "weight_wrapper_patches", {}).items():
        for function in functions:
            for patch in getattr(function, "patch", ()):
                yield key, patch[0]


def _parameter(model: Any, key: str) -> Any:
    for part in key.split("."):
        model = getattr(model, part)
    return model


def _goes_round(read: ReadTag) -> Message:
    return Message(
        "{name}: block weights do not act on this quantised model, since the WebUI gives it whole "
        "LoRAs; the LoRA acts with one strength in all blocks.",
        name=read.tag.name,
        level="warning",
    )


def _tell_late(params: Any, message: Message) -> None:
    """Tell of something that is noticed only while a picture is drawn."""
    p = getattr(params.denoiser, "p", None)
    if p is None:
        print(f"Rimo: {message}")
    else:
        tell(p, message)
