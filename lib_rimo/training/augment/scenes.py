"""Other backgrounds: the subject, cut out, in places that the base model draws with nobody in them.

Five pictures on plain grounds teach a LoRA to draw plain grounds. Where the character stands in
many places, nothing about the place is left for her to be blamed for. Half of the captions name
their place, so that prompts go on choosing it; the others are silent, so that she does not stand
on a plain ground where a prompt is silent too (docs/reproduction.md has both measured).
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lib_rimo.files import written_beside
from lib_rimo.inference.infotext import Settings
from lib_rimo.messages import Message
from lib_rimo.sd.size import Size
from lib_rimo.training.augment.framing import ends_with_any, narrowest_framing
from lib_rimo.training.augment.variants import Variant
from lib_rimo.training.data.captions import join_tags, split_tags
from lib_rimo.training.data.image_files import open_image
from lib_rimo.training.data.masks import NoMaskError, find_mask
from lib_rimo.training.data.pictures import Picture
from lib_rimo.training.data.prior_captions import place_prompts

if TYPE_CHECKING:
    from lib_rimo.inference.generation import Generator

STEPS, CFG_SCALE = 20, 7.0
NEGATIVE = "1girl, 1boy, people, text, watermark"
_BACKGROUND = re.compile(r"\bbackground\b", re.IGNORECASE)
"""Tags that tell of the ground that was cut away: simple background, white background."""
_AT_HAND = frozenset({"book", "cup", "flower", "pillow", "umbrella"})
"""Of a place's tags those that may as well be the character's: then they are still to be seen."""


@dataclass(frozen=True)
class Scene:
    """A drawn place (RGB) and the tags that it was asked for by."""

    image: Image.Image
    tags: str


def draw_scenes(
    model: Path,
    size: Size,
    count: int,
    seed: int,
    kept: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[Scene]:
    """Draw places with the base model, each of another prompt. Raises UserError.

    `size` is width and height in pixels; a seed gives the same places again. Each is put into the
    folder `kept`; what lies there is not drawn again.
    """
    from lib_rimo.sd.model_file import model_hash

    prompts = list(place_prompts())
    random.Random(f"scenes/{seed}").shuffle(prompts)
    tags = [prompts[number % len(prompts)] for number in range(count)]
    wanted = [
        Settings(
            f"{place}, no humans",
            NEGATIVE,
            steps=STEPS,
            cfg_scale=CFG_SCALE,
            seed=seed * 1000 + number,
            width=size[0],
            height=size[1],
        )
        for number, place in enumerate(tags)
    ]
    drawn_by = model_hash(model)
    files = [
        kept / f"{hashlib.sha256(f'{drawn_by} {settings}'.encode()).hexdigest()[:16]}.png"
        for settings in wanted
    ]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if missing:
        generator = _generator(model)
    for done, number in enumerate(missing, start=count - len(missing)):
        if progress is not None:
            progress(done, count)
        image = next(generator.draw(wanted[number])).image
        with written_beside(files[number]) as beside:
            image.convert("RGB").save(beside, format="PNG")
    if progress is not None:
        progress(count, count)
    return [
        Scene(open_image(file).convert("RGB"), place)
        for file, place in zip(files, tags, strict=True)
    ]


def _generator(model: Path) -> Generator:
    """Draws with a base model, where there is room for it beside what a WebUI holds."""
    from lib_rimo.inference.device import choose_device_beside
    from lib_rimo.inference.generation import Generator
    from lib_rimo.sd.checkpoint import load_checkpoint

    device, dtype = choose_device_beside(model)
    return Generator(load_checkpoint(model, device=device, dtype=dtype))


def cut_out(pictures: Iterable[Picture]) -> tuple[list[Picture], list[Message]]:
    """Pictures with their subject's mask for alpha; those that have none stay as they are.

    The messages name these, with the reason.
    """
    found, messages = [], []
    for picture in pictures:
        try:
            found.append(replace(picture, alpha=find_mask(picture).image))
        except NoMaskError as error:
            found.append(picture)
            messages.append(
                Message(
                    "{file} stays on its own background: it {reason}.",
                    level="warning",
                    file=picture.path.name,
                    reason=error.reason,
                )
            )
    return found, messages


def put_in_front(subject: Image.Image, scene: Scene) -> Image.Image:
    """A cut out subject (RGBA) in a place: RGB, as large as the subject's picture."""
    place = scene.image.resize(subject.size, Image.Resampling.LANCZOS)
    place.paste(subject, (0, 0), subject.getchannel("A"))
    return place


def named_places(variants: Sequence[Variant]) -> list[bool]:
    """For each picture whether its caption tells where it is: about half of them do.

    So do half of those from each source, and of each framing. Were close-ups named and whole
    pictures silent, a prompt's place would come with a close-up.
    """
    more_named: Counter[Hashable] = Counter()
    named = []
    turn = True
    for variant in variants:
        groups = (variant.source, narrowest_framing(variant.caption))
        surplus = sum(more_named[group] for group in groups)
        is_named = surplus < 0
        if surplus == 0:
            is_named, turn = turn, not turn
        named.append(is_named)
        more_named.update(dict.fromkeys(groups, 1 if is_named else -1))
    return named


def caption_in(caption: str, place: str = "") -> str:
    """The caption with a place's tags instead of those of the ground that was cut away.

    Without a place it tells of no ground at all. Tags of the place that a detailed background
    showed go too: were they kept, the captions would name places that are not to be seen. The first
    tag is the character's name by custom, be it Rain.
    """
    tags = [tag for tag in split_tags(caption) if not _BACKGROUND.search(tag)]
    kept = [*tags[:1], *(tag for tag in tags[1:] if not _tells_of_place(tag))]
    return join_tags(dict.fromkeys([*kept, *split_tags(place)]))


def _tells_of_place(tag: str) -> bool:
    """Whether it is one of a place's tags, or ends with one, as `blue sky` does."""
    return ends_with_any(tag.lower(), _place_tags())


@cache
def _place_tags() -> frozenset[str]:
    tags = {tag for prompt in place_prompts() for tag in split_tags(prompt)}
    return frozenset(tags - _AT_HAND)


def scene_of(number: int, scenes: Sequence[Scene]) -> Scene | None:
    """The scene of the picture with this number, from 1; None where there are none."""
    return scenes[(number - 1) % len(scenes)] if scenes else None
