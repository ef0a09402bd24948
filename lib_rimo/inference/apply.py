"""Merges LoRAs into a checkpoint's weights, layer by layer, and takes them out again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib_rimo.errors import UserError
from lib_rimo.lora import keys
from lib_rimo.lora.blocks import UNET_FAMILIES, block_of_key
from lib_rimo.lora.delta import embeddings_in, layer_delta, scaled, split_modules
from lib_rimo.lora.description import family_of
from lib_rimo.lora.files import read_lora
from lib_rimo.lora.soundness import check_layers
from lib_rimo.messages import Message
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.sd.family import FAMILY_NAMES
from lib_rimo.sd.file_header import read_header
from lib_rimo.sd.unet_names import ldm_module_name
from lib_rimo.text import printable
from lib_rimo.weights.strength import layer_strength
from lib_rimo.weights.tags import LoraTag

ENDING = ".safetensors"
LONGEST_NAME = 300  # characters of a name that near ones are looked for


@dataclass(frozen=True, eq=False)
class Lora:
    """A LoRA file in memory: key of a layer -> its tensors."""

    name: str
    path: Path
    modules: Mapping[str, Mapping[str, Tensor]]
    metadata: Mapping[str, str]
    family: str  # the model that it was made for, as `lib_rimo.lora.facts.family_of` has it
    embeddings: tuple[str, ...] = ()  # names of what it brings beside its layers

    @property
    def is_for_stable_diffusion(self) -> bool:
        """Whether its family has blocks at all."""
        return self.family in UNET_FAMILIES

    @cached_property
    def blocks(self) -> frozenset[str]:
        """The blocks that it has layers in."""
        found = {block_of_key(key, self.family) for key in self.modules}
        return frozenset(block for block in found if block is not None)


def load_lora(path: Path) -> Lora:
    """Read a LoRA file; raises UserError for what is none or cannot be used."""
    file = read_lora(path)
    modules = split_modules(file.tensors)
    try:
        check_layers(modules)
    except UserError as error:
        raise UserError(
            "{name} cannot be used: {error}", name=printable(path.name), error=error
        ) from error
    family = family_of(modules, file.metadata)
    embeddings = tuple(printable(name) for name in embeddings_in(file.tensors))
    return Lora(path.stem, path, modules, file.metadata, family, embeddings)


@dataclass
class LoraFolder:
    """LoRAs by the names that prompts give them: file names, or names given in training.

    A file is read again when it was replaced meanwhile.
    """

    path: Path
    _loaded: dict[Path, tuple[tuple[int, int], Lora]] = field(default_factory=dict)

    def find(self, name: str) -> Lora:
        """The LoRA of this name; raises UserError naming what there is.

        As the WebUI, by the file's name without ending or the name given in training; and by what
        else people write, with quotes, an ending or the folder before it.
        """
        path = self._path(name)
        if path is None:
            raise self._not_found(name)
        stat = path.stat()
        version = (stat.st_mtime_ns, stat.st_size)
        if path not in self._loaded or self._loaded[path][0] != version:
            self._loaded[path] = (version, load_lora(path))
        return self._loaded[path][1]

    def _path(self, name: str) -> Path | None:
        files = self.files()
        if name in files:
            return files[name]
        for stem, file in files.items():
            if stem.lower() == name.lower():
                return file
        for file in files.values():
            if _alias(file) == name:
                return file
        plain = name.strip(" \"'").replace("\\", "/").removesuffix(ENDING)
        folder, _, stem = plain.rpartition("/")
        for file in self._all_files():
            below = file.relative_to(self.path).parent.as_posix()
            if file.stem.lower() == stem.lower() and f"/{below}".lower().endswith(
                f"/{folder.strip('/')}".lower() if folder else ""
            ):
                return file
        return None

    def _not_found(self, name: str) -> UserError:
        wanted: dict[str, Any] = {"name": printable(name), "folder": self.path}
        names = list(self.files())
        if near := get_close_matches(name[:LONGEST_NAME], names, n=1):
            return UserError(
                'There is no LoRA "{name}" in {folder}; did you mean "{near}"?',
                **wanted,
                near=near[0],
            )
        if not names:
            return UserError(
                'There is no LoRA "{name}" in {folder}; there is none at all.', **wanted
            )
        return UserError(
            'There is no LoRA "{name}" in {folder}; there is {names}.', **wanted, names=names[:8]
        )

    def files(self) -> dict[str, Path]:
        """Name -> file of every LoRA in the folder and below it."""
        return {file.stem: file for file in self._all_files()}

    def _all_files(self) -> list[Path]:
        if not self.path.is_dir():
            return []
        return [file for file in sorted(self.path.rglob(f"*{ENDING}")) if file.is_file()]


@lru_cache(maxsize=1024)
def _alias_at(path: Path, modified: int) -> str:
    try:
        return read_header(path).metadata.get("ss_output_name", "")
    except (OSError, ValueError):
        return ""


def _alias(path: Path) -> str:
    try:
        return _alias_at(path, path.stat().st_mtime_ns)
    except OSError:  # gone meanwhile
        return ""


@dataclass(frozen=True)
class _Share:
    """A LoRA's part in one layer; two equal ones change it equally."""

    lora: Lora
    key: str
    strength: float
    dyn: int | None


class LoraMerger:
    """Keeps a checkpoint's weights at the base model's plus the LoRAs of the moment.

    Each layer remembers what is merged in it: only layers whose own share changed are merged
    again, from the base model's own tensors, which are kept aside while a LoRA is in their place.
    Several LoRAs are added in the order of their tags.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.merged_layers = 0  # how many merges were done since the beginning
        self._layers = dict(_keyed_layers(checkpoint))
        self._base: dict[nn.Module, tuple[Tensor, Tensor | None]] = {}
        self._shares: dict[nn.Module, tuple[_Share, ...]] = {}

    def apply(
        self, loras: Sequence[tuple[Lora, LoraTag]], *, steps_done: int = 0
    ) -> tuple[Message, ...]:
        """Bring the weights to the base model's with exactly these LoRAs.

        `steps_done` tells which of the LoRAs with a start or stop act in the UNet. A LoRA that
        does not fit the model is left out, and a message says so.
        """
        messages: list[Message] = []
        loras = list(loras)
        while True:
            wanted = self._wanted_shares(loras, steps_done)
            try:
                for layer in [*wanted, *(set(self._shares) - set(wanted))]:
                    self._bring_to(layer, wanted.get(layer, ()))
            except _DoesNotFitError as error:
                messages.append(self._why_not(error.lora, is_too_large=error.is_too_large))
                loras = [(lora, tag) for lora, tag in loras if lora is not error.lora]
            else:
                break
        for lora, _ in loras:
            if not any(key in self._layers for key in lora.modules):
                messages.append(self._why_not(lora))
        return tuple(messages)

    def clear(self) -> None:
        """Put the base model's own weights back."""
        self.apply(())

    def base_weight(self, key: str) -> Tensor | None:
        """The base model's weight of the layer with this key, None if it has no such layer."""
        layer = self._layers.get(key)
        if layer is None:
            return None
        kept = self._base.get(layer)
        weight: Tensor = layer.weight if kept is None else kept[0]  # type: ignore[assignment]
        return weight.detach()

    def _wanted_shares(
        self, loras: Iterable[tuple[Lora, LoraTag]], steps_done: int
    ) -> dict[nn.Module, tuple[_Share, ...]]:
        wanted: dict[nn.Module, tuple[_Share, ...]] = {}
        for lora, tag in loras:
            acts = tag.blocks is None or tag.blocks.active_at(steps_done)
            for key in lora.modules:
                layer = self._layers.get(key)
                if layer is None:
                    continue
                in_text_encoder = block_of_key(key) == "BASE"  # read once, before the first step
                strength = layer_strength(tag, key, self.checkpoint.family)
                if strength != 0 and (acts or in_text_encoder):
                    share = _Share(lora, key, strength, tag.dyn)
                    wanted[layer] = (*wanted.get(layer, ()), share)
        return wanted

    @torch.no_grad()
    def _bring_to(self, layer: nn.Module, shares: tuple[_Share, ...]) -> None:
        if self._shares.get(layer, ()) == shares:
            return
        base_weight, base_bias = self._base.get(layer) or _parameters(layer)
        weight, bias = base_weight, base_bias
        for share in shares:
            tensors = share.lora.modules[share.key]
            try:
                delta = layer_delta(scaled(tensors, share.strength, weight), weight, dyn=share.dyn)
                weight = (weight.float() + delta.weight).to(base_weight.dtype)
                if delta.bias is not None:
                    start = torch.zeros_like(delta.bias) if bias is None else bias.float()
                    bias = (start + delta.bias).to(base_weight.dtype)
            except RuntimeError as error:  # shapes of another model
                raise _DoesNotFitError(share.lora) from error
            if not bool(weight.isfinite().all()):
                raise _DoesNotFitError(share.lora, is_too_large=True)
        _set_parameters(layer, weight, bias)
        self.merged_layers += bool(shares)
        if shares:
            self._base[layer] = (base_weight, base_bias)
            self._shares[layer] = shares
        else:
            del self._base[layer], self._shares[layer]

    def _why_not(self, lora: Lora, *, is_too_large: bool = False) -> Message:
        ours, theirs = self.checkpoint.family, lora.family
        if is_too_large:
            return Message(
                "{name} was left out: it makes the weights too large for numbers.", name=lora.name
            )
        if ours != theirs:
            return Message(
                "{name} was left out: it was made for {theirs}, the model is {ours}.",
                name=lora.name,
                theirs=FAMILY_NAMES.get(theirs, theirs),
                ours=FAMILY_NAMES[ours],
            )
        return Message("{name} was left out: its layers are not this model's.", name=lora.name)


class _DoesNotFitError(Exception):
    def __init__(self, lora: Lora, *, is_too_large: bool = False) -> None:
        super().__init__(lora.name)
        self.lora = lora
        self.is_too_large = is_too_large


def _parameters(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    bias = getattr(layer, "bias", None)
    return layer.weight.data, None if bias is None else bias.data  # type: ignore[return-value]


def _set_parameters(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    own_bias: nn.Parameter | None = layer._parameters["bias"]
    layer.weight.data = weight
    if bias is None:
        layer.register_parameter("bias", None)
    elif own_bias is None:
        layer.register_parameter("bias", nn.Parameter(bias, requires_grad=False))
    else:
        own_bias.data = bias


_LAYER_KINDS = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)


def _keyed_layers(checkpoint: Checkpoint) -> Iterator[tuple[str, nn.Module]]:
    """Every layer that a file may change, under each of the keys that files give it.

    UNet layers are written in diffusers' names or, as by kohya's trainer for SDXL, in LDM's; one
    text encoder may be called the first.
    """
    prefixes = keys.text_encoder_prefixes(checkpoint.family)
    for number, (prefix, encoder) in enumerate(
        zip(prefixes, checkpoint.text_encoders, strict=True), 1
    ):
        for name, layer in encoder.named_modules():
            if isinstance(layer, _LAYER_KINDS):
                yield keys.text_encoder_key(f"lora_te{number}", name), layer
                yield keys.text_encoder_key(prefix, name), layer
    without_attention = () if checkpoint.family == "sdxl" else (0,)
    for name, layer in checkpoint.unet.named_modules():
        if isinstance(layer, _LAYER_KINDS):
            ldm_name = ldm_module_name(name, without_attention)
            yield f"{keys.UNET_PREFIX}_{ldm_name.replace('.', '_')}", layer
            yield keys.unet_key("sd1", name), layer
