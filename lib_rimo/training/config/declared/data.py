"""Pictures and captions: where they are, how they vary, their buckets."""

from __future__ import annotations

from dataclasses import dataclass

from lib_rimo.training.config.declaration import option


@dataclass
class DataOptions:
    """The options of the group `data`."""

    dataset_config: str = option(
        "", "kohya's TOML of datasets and subsets, or the same as JSON text", "data"
    )
    reg_data_dir: str = option("", "Folder of regularisation pictures", "data")
    prior_loss_weight: float = option(
        1.0, "Weight of the regularisation pictures' loss", "data", minimum=0
    )
    caption_extension: str = option(
        "", "Ending of caption files; empty: .txt, then .caption", "data"
    )
    shuffle_caption: bool = option(False, "Shuffle the tags of each caption", "data")
    keep_tokens: int = option(0, "Tags at the front that stay in place", "data", minimum=0)
    caption_dropout_rate: float = option(
        0.0, "Share of captions left empty", "data", minimum=0, maximum=1
    )
    caption_tag_dropout_rate: float = option(
        0.0, "Share of tags left out", "data", minimum=0, maximum=1
    )
    caption_dropout_every_n_epochs: int = option(
        0, "Leave all captions empty in every so manieth epoch; 0: never", "data", minimum=0
    )
    keep_tokens_separator: str = option(
        "", "Tags before this mark stay in place, and those behind a second one", "data"
    )
    secondary_separator: str = option(
        "", "Mark between tags that are shuffled as one; becomes a comma", "data"
    )
    caption_separator: str = option(",", "Mark between the tags of captions", "data")
    caption_prefix: str = option("", "Words put in front of every caption", "data")
    caption_suffix: str = option("", "Words put behind every caption", "data")
    enable_wildcard: bool = option(
        False, "Captions of several lines are alternatives; of {red|blue} one is taken", "data"
    )
    flip_aug: bool = option(False, "Train on the mirrored pictures too", "data")
    enable_bucket: bool = option(True, "Keep each picture's aspect ratio", "data")
    min_bucket_reso: int = option(256, "Shortest side of a bucket", "data", minimum=32)
    max_bucket_reso: int = option(1024, "Longest side of a bucket", "data", minimum=64)
    bucket_reso_steps: int = option(64, "Sides of buckets are multiples of this", "data", minimum=8)
    bucket_no_upscale: bool = option(False, "Never enlarge a picture", "data")
    cache_latents_to_disk: bool = option(
        False, "Keep encoded pictures on disk for the next run", "data"
    )
