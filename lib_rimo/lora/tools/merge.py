"""Makes one LoRA of several, each with its strength and block weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.lora.blocks import UNET_FAMILIES
from lib_rimo.lora.delta import Tensors, embeddings_in, form_of, scale_of, scaled, split_modules
from lib_rimo.lora.files import LoraFile
from lib_rimo.lora.tools.convert import TEXT_ENCODER_KEY, diffusers_path
from lib_rimo.lora.tools.factors import RankLimit, factorize, factorize_product
from lib_rimo.lora.tools.record import minimum_metadata, stored_dtype
from lib_rimo.lora.tools.resize import is_plain, whole_change
from lib_rimo.text import parse_json

MERGED_FROM = "rimo_merged_from"


@dataclass(frozen=True)
class Ingredient:
    """A LoRA of the mixture: its file, its family, and the strength of each of its layers.

    `description` is what the merged file's metadata keep of it: the tag that names the weights.
    """

    file: LoraFile
    family: str
    strength_of: Callable[[str], float]
    description: str


@dataclass(frozen=True)
class _Part:
    """One LoRA's share in a layer: tensors whose plain use is the weighted use."""

    key: str
    tensors: Tensors


def merge(
    ingredients: Sequence[Ingredient],
    title: str,
    limit: RankLimit | None = None,
    *,
    dtype: torch.dtype | None = None,
    base_of: Callable[[str], Tensor | None] = lambda key: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LoraFile:
    """A file that changes a model as all ingredients together do.

    Without a limit nothing is lost: plain layers are set side by side, so that their ranks add up,
    and a layer that one of them has in another form becomes a full difference. With a limit each
    layer is factored anew.
    `base_of` gives the base model's weight of a layer, which DoRA, IA3, OFT and GLoRA need.
    Raises UserError for LoRAs of different families, and where nothing would be left.
    """
    families = {ingredient.family for ingredient in ingredients}
    if len(families) != 1:
        raise UserError(
            "LoRAs of different models cannot be merged ({families}): take those of one.",
            families=sorted(families),
        )
    family = families.pop()
    parts = _parts_by_layer(ingredients, family, base_of)
    if not parts:
        raise UserError("These weights are 0 in every block of the LoRAs: nothing would be left.")
    tensors: dict[str, Tensor] = {}
    dtype = dtype or stored_dtype(ingredients[0].file.tensors)
    for done, layer in enumerate(parts):
        progress(done, len(parts))
        for name, tensor in _merged(layer, limit, base_of).items():
            tensors[f"{layer[0].key}.{name}"] = tensor.to(dtype).contiguous()
    metadata = minimum_metadata(family, title, split_modules(tensors))
    metadata["modelspec.merged_from"] = ", ".join(i.description for i in ingredients)
    metadata[MERGED_FROM] = json.dumps([i.description for i in ingredients], ensure_ascii=False)
    metadata |= _tag_frequencies(ingredients)
    for ingredient in reversed(ingredients):  # of two embeddings of a name the first one's
        for embedding in embeddings_in(ingredient.file.tensors).values():
            tensors |= embedding
    return LoraFile(tensors, metadata)


def _parts_by_layer(
    ingredients: Sequence[Ingredient], family: str, base_of: Callable[[str], Tensor | None]
) -> list[list[_Part]]:
    layers: dict[tuple[str, str], list[_Part]] = {}
    for ingredient in ingredients:
        for key, module in split_modules(ingredient.file.tensors).items():
            strength = ingredient.strength_of(key)
            if strength != 0:
                part = _Part(key, scaled(module, strength, base_of(key)))
                layers.setdefault(_layer_of(key, family), []).append(part)
    return list(layers.values())


def _layer_of(key: str, family: str) -> tuple[str, str]:
    """What tells a layer under whatever names files give it: the model's part, and the path."""
    if family not in UNET_FAMILIES:
        return ("", key)
    text_encoder = TEXT_ENCODER_KEY.match(key)
    if text_encoder:
        return (f"text encoder {text_encoder[1] or 1}", text_encoder[2])
    return ("UNet", diffusers_path(key))


def _merged(
    parts: Sequence[_Part],
    limit: RankLimit | None,
    base_of: Callable[[str], Tensor | None],
) -> dict[str, Tensor]:
    """The tensors of the layer that these parts are together."""
    forms = {form_of(part.tensors) for part in parts}
    biases = [
        part.tensors[form_of(part.tensors).bias_in].float()
        for part in parts
        if form_of(part.tensors).bias_in in part.tensors
    ]
    if all(is_plain(part.tensors) for part in parts) and _fit(parts):
        up, down = _side_by_side(parts)
        if limit is None:
            return {
                "lora_up.weight": up,
                "lora_down.weight": down,
                "alpha": torch.tensor(float(len(down))),
            }
        return factorize_product(up, down, limit).tensors()
    change = _sum_of_changes(parts, base_of)
    if {form.name for form in forms} == {"norm"}:
        return {"w_norm": change} | ({"b_norm": torch.stack(biases).sum(0)} if biases else {})
    if limit is None or biases:
        return {"diff": change} | ({"diff_b": torch.stack(biases).sum(0)} if biases else {})
    return factorize(change, limit).tensors()


def _sum_of_changes(parts: Sequence[_Part], base_of: Callable[[str], Tensor | None]) -> Tensor:
    """(out, in[, kh, kw]); a matrix and a 1x1 convolution are the same change."""
    changes = [whole_change(part.key, part.tensors, base_of) for part in parts]
    if len({change.numel() for change in changes}) != 1:
        raise UserError(
            "{key} has another size in one of the LoRAs: they are of different models.",
            key=parts[0].key,
        )
    return torch.stack([change.reshape(changes[0].shape) for change in changes]).sum(0)


def _fit(parts: Sequence[_Part]) -> bool:
    """Whether the layers have the same inputs and outputs, as those of one model have."""
    shapes = {
        (len(part.tensors["lora_up.weight"]), part.tensors["lora_down.weight"].shape[1:])
        for part in parts
    }
    return len(shapes) == 1


def _side_by_side(parts: Sequence[_Part]) -> tuple[Tensor, Tensor]:
    """(out, ranks[, 1, 1]) and (ranks, in[, kh, kw]), whose product is the sum of the parts'."""
    ups = [part.tensors["lora_up.weight"].float() * scale_of(part.tensors) for part in parts]
    downs = [part.tensors["lora_down.weight"].float() for part in parts]
    return torch.cat(ups, 1), torch.cat(downs, 0)


def _tag_frequencies(ingredients: Sequence[Ingredient]) -> dict[str, str]:
    """All training captions' tags, from which WebUIs propose trigger words."""
    folders: dict[str, object] = {}
    for ingredient in ingredients:
        try:
            own = parse_json(ingredient.file.metadata.get("ss_tag_frequency", "{}"))
        except ValueError:
            continue  # the user's program may have written anything there
        if isinstance(own, dict):
            folders |= own
    return {"ss_tag_frequency": json.dumps(folders)} if folders else {}
