"""From five pictures to twenty: a new folder with them, written whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.held_folders import HeldFolders, reading_through
from lib_rimo.messages import Message
from lib_rimo.sd.native import native_of
from lib_rimo.sd.size import Size, parse_resolution
from lib_rimo.training.augment.contact_sheet import contact_sheet, label, thumbnail
from lib_rimo.training.augment.framing import OutOfFrame
from lib_rimo.training.augment.origin import (
    MADE_BY,
    MANIFEST,
    Origin,
    digests,
    edited,
    is_made,
    origin_of,
    read_manifest,
)
from lib_rimo.training.augment.scenes import (
    Scene,
    caption_in,
    cut_out,
    draw_scenes,
    named_places,
    put_in_front,
    scene_of,
)
from lib_rimo.training.augment.variants import (
    Variant,
    draw_mask,
    draw_variant,
    plan_augmentation,
)
from lib_rimo.training.data.folders import (
    CONTACT_SHEET,
    MASK_FOLDER,
    find_folders,
    unused_folders,
)
from lib_rimo.training.data.masks import mask_file, read_mask
from lib_rimo.training.data.pictures import (
    Picture,
    find_pictures,
    none_usable,
    read_pictures,
    tell_left_out,
)

RECIPES: Size = (448, 704)
"""Width and height of the pictures that the recipe was found with."""


@dataclass(frozen=True)
class Summary:
    """What was written."""

    folder: Path
    variants: list[Variant]
    files: list[Path]
    left_out: list[tuple[Path, Message]]
    unused: Sequence[Message] = ()
    """Pictures that lie where they are not looked for."""
    not_cut_out: Sequence[Message] = ()
    """Pictures that were to stand in other places and could not be cut out."""

    def messages(self) -> Iterator[Message]:
        """What was made, what was left out, and where to look twice."""
        framings = Counter(variant.framing for variant in self.variants)
        mirrored = sum(variant.flipped for variant in self.variants)
        yield Message(
            "Pictures in {folder}: {n} ({parts}; {mirrored} mirrored).",
            level="note",
            n=len(self.variants),
            folder=self.folder,
            parts=[
                Message("{n} {framing}", n=count, framing=Message(framing))
                for framing, count in framings.items()
            ],
            mirrored=mirrored,
        )
        sources = {variant.source: variant.anchor for variant in self.variants}
        faces = sum(anchor == "face" for anchor in sources.values())
        if faces < len(sources):
            yield Message(
                "A face was found in {n} of {total} pictures; crops of the others follow what "
                "stands out most, so have a look at them.",
                level="note",
                n=faces,
                total=len(sources),
            )
        yield from tell_left_out(self.left_out)
        yield from self.unused
        yield from self.not_cut_out
        uncaptioned = {variant.source.name for variant in self.variants if not variant.caption}
        if uncaptioned:
            yield Message("No caption: {names}.", level="warning", names=sorted(uncaptioned))


def augment(
    source: Path,
    destination: Path,
    *,
    count: int = 20,
    resolution: str | Size = "",
    base: Path | None = None,
    seed: int = 1,
    mirror: bool = True,
    name: str = "",
    out_of_frame: OutOfFrame | None = None,
    caption_extension: str = "",
    scenes: int = 0,
    overwrite: bool = False,
    drawing: Callable[[int, int], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Make `count` training pictures from those in `source`. Raises UserError.

    They are as large as `resolution` says, else as the `base` model wants standing pictures, else
    as the recipe has them. With `scenes` the subjects are cut out and stand in so many places that
    the `base` model draws, which half of the captions name; they are kept beside `destination`
    until it is there, so that what was interrupted goes on. A set that was made before is
    replaced; one in which somebody has changed or thrown out something, with `overwrite` only.
    `drawing` and `progress` are told how many places are drawn, how many pictures made, of how
    many.
    """
    if scenes and base is None:
        raise UserError("Other backgrounds are drawn by the base model: name it with --model.")
    native = native_of(base) if base else None
    size = parse_resolution(resolution) if resolution else native.standing if native else RECIPES
    check_destination(destination)
    if not overwrite:
        _check_unedited(destination)
    folders = find_folders(source)
    pictures, left_out = read_pictures(
        file for folder in folders for file in find_pictures(folder.path)
    )
    if not pictures:
        raise none_usable(source, *left_out[0])
    not_cut_out: list[Message] = []
    if scenes:  # before crops are planned, which look for the subject too
        pictures, not_cut_out = cut_out(pictures)
    variants = plan_augmentation(
        pictures,
        count,
        size,
        seed,
        mirror=mirror,
        out_of_frame=out_of_frame,
        caption_extension=caption_extension,
    )
    whole = destination.resolve()
    kept = whole.with_name(f".{whole.name}.places")
    places: list[Scene] = []
    if scenes and base is not None:
        places = draw_scenes(base, size, scenes, seed, kept, drawing)
    summary = write_augmentation(
        pictures,
        variants,
        destination,
        scenes=places,
        name=name or folders[0].class_tokens or source.resolve().name,
        origin=origin_of(source, caption_extension, base.stem if base else "", native),
        left_out=left_out,
        masks={
            picture.path: read_mask(file, picture.size)
            for picture in pictures
            if (file := mask_file(picture.path)) is not None
        },
        progress=progress,
    )
    shutil.rmtree(kept, ignore_errors=True)
    return replace(summary, unused=unused_folders(source, folders), not_cut_out=tuple(not_cut_out))


def write_augmentation(
    pictures: Sequence[Picture],
    variants: Sequence[Variant],
    folder: Path,
    *,
    name: str,
    origin: Origin | None = None,
    left_out: Sequence[tuple[Path, Message]] = (),
    scenes: Sequence[Scene] = (),
    masks: Mapping[Path, Image.Image] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Write the planned pictures with captions, a manifest and a contact sheet into a new folder.

    The pictures lie in `1_name` inside of it, so that it can be given to this trainer and to
    kohya's as it is. What is cut out stands in one of the `scenes` after the other. `masks` are
    those of sources that have a file for it; what is made of these has one too, in `masks`, and so
    has what stands in a scene. A folder that this wrote before is replaced; UserError for one that
    holds anything else. It appears whole or not at all.
    """
    check_destination(folder)
    if not name or Path(name).name != name:
        raise UserError(
            '"{name}" cannot name a folder; give one word, such as rimochan.', name=name
        )
    by_path = {picture.path: picture for picture in pictures}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise UserError(
            "{folder} cannot be made: {reason}.", folder=folder, reason=error.strerror
        ) from error
    try:
        inner = beside / f"1_{name}"
        inner.mkdir()
        files, thumbnails = [], []
        variants = list(variants)
        is_named = named_places(variants)
        for number, variant in enumerate(variants, start=1):
            image = draw_variant(by_path[variant.source], variant)
            mask = (masks or {}).get(variant.source)
            if mask is not None:
                mask = None if image.mode == "RGBA" else draw_mask(mask, variant)
            scene = scene_of(number, scenes)
            if scene is not None and image.mode == "RGBA":
                mask = image.getchannel("A")  # afterwards nobody could find it
                image = put_in_front(image, scene)
                place = scene.tags if is_named[number - 1] else ""
                variant = replace(variant, caption=caption_in(variant.caption, place))
                variants[number - 1] = variant
            file = inner / f"{number:0{max(2, len(str(len(variants))))}d}.png"
            image.save(file)
            if mask is not None:
                (beside / MASK_FOLDER).mkdir(exist_ok=True)
                mask.save(beside / MASK_FOLDER / file.name)
            if variant.caption:
                file.with_suffix(".txt").write_text(variant.caption + "\n", encoding="utf-8")
            files.append(file.relative_to(beside))
            thumbnails.append(thumbnail(image))
            if progress is not None:
                progress(number, len(variants))
        labels = [label(file, variant) for file, variant in zip(files, variants, strict=True)]
        contact_sheet(thumbnails, labels).save(beside / CONTACT_SHEET)
        manifest = _manifest(files, variants, left_out, origin, digests(beside))
        (beside / MANIFEST).write_text(manifest, encoding="utf-8")
        beside.chmod(0o755)  # mkdtemp makes folders that nobody else may look into
        _put_in_place(beside, folder)
    except OSError as error:
        raise UserError(
            "The pictures cannot be written to {folder}: {reason}.",
            folder=folder,
            reason=error.strerror,
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Summary(folder, list(variants), [folder / file for file in files], list(left_out))


def check_destination(folder: Path) -> None:
    """Raise UserError unless the folder is new, empty or all written by `write_augmentation`."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError("{folder} is a file; give a new folder for the pictures.", folder=folder)
    ours = {MANIFEST, CONTACT_SHEET}
    if is_made(folder):
        # Captions, and latents that were cached, begin like the picture they belong to.
        ours |= {file.stem for file, _ in read_augmentation(folder)}
    for file in sorted(folder.rglob("*")):
        known = file.is_dir() or file.name in ours or file.name.partition(".")[0] in ours
        if not known and not file.name.startswith("."):
            raise UserError(
                "{folder} holds {file}, which was not made by augmenting; give a new or empty "
                "folder.",
                folder=folder,
                file=file.relative_to(folder),
            )


def read_augmentation(folder: Path) -> list[tuple[Path, Variant]]:
    """Read back what was written: each picture with how it was made. Raises UserError."""
    if not is_made(folder):
        raise UserError(
            "{folder} was not made by augmenting, or its {file} is broken.",
            folder=folder,
            file=MANIFEST,
        )
    entries = read_manifest(folder)["pictures"]
    return [
        (
            folder / entry["file"],
            Variant(
                Path(entry["source"]),
                entry["framing"],
                tuple(entry["box"]),
                entry["flipped"],
                tuple(entry["size"]),
                entry["caption"],
                entry["anchor"],
            ),
        )
        for entry in entries
    ]


def is_untouched(folder: Path, source: Path) -> bool:
    """Whether a folder was made of the pictures in `source`, and nothing in it changed since."""
    try:
        check_destination(folder)
        _check_unedited(folder)
        made = read_augmentation(folder)
        return all(variant.source.is_relative_to(source) for _, variant in made)
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return False


def _check_unedited(folder: Path) -> None:
    """Raise UserError where something of a made set is not as it was written."""
    if not is_made(folder):
        return
    changed = sorted(edited(folder))
    if changed:
        raise UserError(
            "{folder} has been changed since it was made ({names}): give another folder, or "
            "--overwrite to lose these changes.",
            folder=folder,
            names=changed if len(changed) <= 3 else [*changed[:3], "…"],
        )


def discard(folder: Path, files: Collection[Path], held: HeldFolders) -> None:
    """Throw out single pictures of an augmented folder that is held, with their captions."""
    with reading_through(held):
        found = read_augmentation(folder)
        before = read_manifest(folder)
    kept = [(file, variant) for file, variant in found if file not in files]
    manifest = _manifest(
        [file.relative_to(folder) for file, _ in kept],
        [variant for _, variant in kept],
        [(Path(e["file"]), Message.from_json(e["reason"])) for e in before["left_out"]],
        Origin.from_json(before.get("origin")),
        before.get("written", {}),
    )
    held.write(folder / MANIFEST, manifest.encode())
    for file, _ in found:
        if file in files:
            held.remove(file)
            held.remove(file.with_suffix(".txt"))
            if (folder / MASK_FOLDER).is_dir():
                held.remove(folder / MASK_FOLDER / file.name)


def _manifest(
    files: Sequence[Path],
    variants: Sequence[Variant],
    left_out: Sequence[tuple[Path, Message]],
    origin: Origin | None,
    written: Mapping[str, str],
) -> str:
    manifest = {
        "made_by": MADE_BY,
        "written": written,
        "origin": origin and origin.as_json(),
        "pictures": [
            {"file": file.as_posix(), **asdict(variant), "source": str(variant.source)}
            for file, variant in zip(files, variants, strict=True)
        ],
        "left_out": [{"file": file.name, "reason": reason.text()} for file, reason in left_out],
    }
    return json.dumps(manifest, indent=1, ensure_ascii=False)


def _put_in_place(beside: Path, folder: Path) -> None:
    """Rename the new folder to its name; an old one stays until that worked."""
    if not folder.exists():
        beside.replace(folder)
        return
    old = beside.with_name(beside.name + ".old")
    folder.replace(old)
    try:
        beside.replace(folder)
    except OSError:
        old.replace(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
