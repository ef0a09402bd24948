"""The CLIP text encoders of an LDM single file, and their tokenizers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lib_rimo.errors import UserError
from lib_rimo.sd import ldm_layout
from lib_rimo.sd.architecture import count_parts
from lib_rimo.sd.family import Family
from lib_rimo.sd.ldm_layout import Layout
from lib_rimo.sd.model_file import Storage, TensorFile, fill
from lib_rimo.sd.tokenizer import clip_tokenizer, pad_with_zero

TextEncoder: TypeAlias = "CLIPTextModel | CLIPTextModelWithProjection"

CLIP_VOCABULARY = 49408
CLIP_END = 49407
CLIP_WIDTHS = (768, 1024, 1280)  # ViT-L, ViT-H, ViT-bigG: 64 for each head


@dataclass(frozen=True)
class TextEncoderPlace:
    """Where a family's file keeps a text encoder, and in whose layout."""

    prefix: str
    open_clip: bool = False
    unused_layers: int = 0
    projection: bool = False

    def layout(self, keys: Mapping[str, object]) -> Layout:
        """Where the file keeps the tensors of a transformers model with these keys."""
        make = ldm_layout.open_clip_layout if self.open_clip else ldm_layout.clip_layout
        return make(keys, self.prefix)


TEXT_ENCODERS: dict[Family, tuple[TextEncoderPlace, ...]] = {
    "sd1": (TextEncoderPlace("cond_stage_model.transformer."),),
    # SD2 was trained on the output of the last layer but one.
    "sd2": (TextEncoderPlace("cond_stage_model.model.", open_clip=True, unused_layers=1),),
    "sdxl": (
        TextEncoderPlace("conditioner.embedders.0.transformer."),
        TextEncoderPlace("conditioner.embedders.1.model.", open_clip=True, projection=True),
    ),
}


def load_text_encoders(
    file: TensorFile,
    family: Family,
    path: Path,
    config: Mapping[str, Any],
    storage: Storage,
) -> list[TextEncoder]:
    """The family's text encoders, filled. `config` is that of the `.yaml` beside the file."""
    encoders = []
    for number, place in enumerate(TEXT_ENCODERS[family]):
        params = _clip_params(config, number)
        folder = _small_clip_folder(path, params)
        text_config = _text_config(file.shapes, place, folder)
        if folder is None and "version" in params:
            _check_width(text_config.hidden_size, path, params["version"])
        kind = CLIPTextModelWithProjection if place.projection else CLIPTextModel
        with torch.device("meta"):
            encoder = kind(text_config)
        fill(encoder, place.layout(encoder.state_dict()), file, storage)
        # Not in the file: the positions 0, 1, ... are a buffer that the meta device left empty.
        for name, buffer in list(encoder.named_buffers()):
            owner = encoder.get_submodule(name.rpartition(".")[0])
            positions = torch.arange(buffer.shape[-1], device=storage.device).expand(buffer.shape)
            owner.register_buffer(name.rpartition(".")[2], positions, persistent=False)
        encoders.append(encoder)
    return encoders


def _text_config(
    shapes: Mapping[str, tuple[int, ...]], place: TextEncoderPlace, folder: Path | None
) -> CLIPTextConfig:
    if folder is not None and not place.unused_layers:
        return CLIPTextConfig.from_pretrained(folder, local_files_only=True)
    if place.open_clip:
        embedding, position = "token_embedding.weight", "positional_embedding"
        layers, hidden = "transformer.resblocks.", "transformer.resblocks.0.mlp.c_fc.weight"
    else:
        embedding = "text_model.embeddings.token_embedding.weight"
        position = "text_model.embeddings.position_embedding.weight"
        layers, hidden = "text_model.encoder.layers.", "text_model.encoder.layers.0.mlp.fc1.weight"
    vocabulary, width = shapes[place.prefix + embedding]
    projection = shapes.get(f"{place.prefix}text_projection", (width, width))
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=shapes[place.prefix + hidden][0],
        projection_dim=projection[1],
        num_hidden_layers=count_parts(shapes, place.prefix + layers) - place.unused_layers,
        num_attention_heads=max(1, width // 64),
        max_position_embeddings=shapes[place.prefix + position][0],
        hidden_act="gelu" if place.open_clip else "quick_gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=0 if place.open_clip else vocabulary - 1,
    )


def _clip_params(config: Mapping[str, Any], number: int) -> dict[str, Any]:
    """What a `.yaml` says of a text encoder: SDXL's lists several, among other things."""
    listed = config.get("conditioner_config", {}).get("params", {}).get("emb_models", [])
    embedder = listed[number] if number < len(listed) else config.get("cond_stage_config", {})
    return dict(embedder.get("params") or {})


def _check_width(width: int, path: Path, version: str) -> None:
    """The number of heads of the known CLIPs follows from their width, others have to say it."""
    if width not in CLIP_WIDTHS:
        raise UserError(
            "{file} has a text encoder of its own; put the folder {version} with its "
            "config.json, which {stem}.yaml names, beside it.",
            file=path.name,
            version=version,
            stem=path.stem,
        )


def _small_clip_folder(path: Path, params: Mapping[str, Any]) -> Path | None:
    """The folder with a small CLIP's `config.json` and tokenizer that the `.yaml` names.

    A relative path counts from the `.yaml`'s own folder.
    """
    version = params.get("version")
    if not version:
        return None
    for parent in (path.parent, path.resolve().parent):  # a WebUI's folder may hold a link
        if (parent / version / "config.json").is_file():
            return Path(parent / version)
    return None


def make_tokenizers(
    family: Family, encoders: list[TextEncoder], path: Path, config: Mapping[str, Any]
) -> list[CLIPTokenizer]:
    """CLIP's tokenizer for each text encoder, or the one that the `.yaml` names."""
    tokenizers = []
    for number, (place, encoder) in enumerate(zip(TEXT_ENCODERS[family], encoders, strict=True)):
        folder = _small_clip_folder(path, _clip_params(config, number))
        if folder is not None and (folder / "merges.txt").is_file() and not place.open_clip:
            tokenizers.append(CLIPTokenizer.from_pretrained(folder, local_files_only=True))
            continue
        if encoder.config.vocab_size != CLIP_VOCABULARY:
            raise UserError(
                "{file} has a vocabulary of its own; keep the .yaml that names its tokenizer's "
                "folder beside it.",
                file=path.name,
            )
        tokenizer = clip_tokenizer()
        tokenizers.append(pad_with_zero(tokenizer) if place.open_clip else tokenizer)
    return tokenizers
