"""What is trained on: the pictures of the folders with their captions and places in buckets."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.sd.size import parse_resolution
from lib_rimo.training.config.dataset_config import read_dataset_config
from lib_rimo.training.data.buckets import Buckets, Fit
from lib_rimo.training.data.captions import has_trigger, read_caption, with_affixes, with_trigger
from lib_rimo.training.data.folders import Folder, find_folders, unused_folders
from lib_rimo.training.data.image_files import UnusablePictureError
from lib_rimo.training.data.latent_masks import LatentMasks, MaskOptions
from lib_rimo.training.data.pictures import find_pictures, none_usable, read_picture

AnyOptions = TypeVar("AnyOptions")

MOST_TOLD = 5
"""Sentences of one kind; of a hundred captions that cannot be read the first few are enough."""


class EntryOptions(MaskOptions, Protocol):
    """What finding the pictures reads of the options; names and meanings are kohya's.

    `trigger_word` is not: a word put first into every training caption that lacks it.
    """

    train_data_dir: str
    reg_data_dir: str
    dataset_config: str
    resolution: str
    caption_extension: str
    caption_prefix: str
    caption_suffix: str
    enable_wildcard: bool
    trigger_word: str
    enable_bucket: bool
    min_bucket_reso: int
    max_bucket_reso: int
    bucket_reso_steps: int
    bucket_no_upscale: bool


@dataclass
class Entry:
    """One picture's place in the training set."""

    path: Path
    folder: Folder
    repeats: int
    """How often it is seen in an epoch."""
    caption: str
    digest: str
    """SHA-256 of the file."""
    fit: Fit
    mask: Tensor | None = None
    """(1, h, w) in 0..1: how much of each latent cell is the subject; none: all of it counts."""


@dataclass
class Findings:
    """What the folders hold, and what to tell about it."""

    buckets: Buckets
    entries: list[Entry] = field(default_factory=list)
    left_out: list[tuple[Path, Message]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)


def find_entries(options: EntryOptions) -> Findings:
    """Look through the folders of the options. Raises UserError: nothing to train on."""
    found = Findings(buckets_of(options))
    folders = _folders(options, found)
    training = [folder for folder in folders if not folder.is_regularisation]
    regularisation = [folder for folder in folders if folder.is_regularisation]
    masks = LatentMasks()
    found.entries = _read(training, options.trigger_word.strip(), options, found, masks)
    if regularisation:
        wanted = sum(entry.repeats for entry in found.entries)
        found.entries += balance(_read(regularisation, "", options, found, masks), wanted)
    found.messages += masks.messages(options)
    found.messages += _what_trains_badly(found.entries, options)
    return found


def buckets_of(options: EntryOptions) -> Buckets:
    """The buckets that the options describe."""
    return Buckets(
        parse_resolution(options.resolution),
        options.enable_bucket,
        options.min_bucket_reso,
        options.max_bucket_reso,
        options.bucket_reso_steps,
        options.bucket_no_upscale,
    )


def options_in(folder: Folder, options: AnyOptions) -> AnyOptions:
    """The options as they are for a folder's pictures; raises UserError for a bad value."""
    if not folder.own:
        return options
    return dataclasses.replace(cast(Any, options), **folder.own)  # type: ignore[no-any-return]


def _folders(options: EntryOptions, found: Findings) -> list[Folder]:
    """The folders to read: those of a dataset_config, else of the two options."""
    if options.dataset_config:
        subsets = read_dataset_config(options.dataset_config).subsets
        folders = [
            Folder(
                subset.image_dir,
                subset.num_repeats,
                subset.class_tokens,
                subset.is_reg,
                subset.own,
            )
            for subset in subsets
            if subset.num_repeats
        ]
        for folder in folders:
            found.messages += unused_folders(folder.path, folders)
        return folders
    folders = []
    for root, is_regularisation in ((options.train_data_dir, False), (options.reg_data_dir, True)):
        if root:
            inside = find_folders(Path(root), is_regularisation)
            found.messages += unused_folders(Path(root), inside)
            folders += inside
    return folders


def balance(entries: list[Entry], wanted: int) -> list[Entry]:
    """Take as many regularisation pictures as training pictures, as kohya's trainer does.

    Too few are repeated in turn, of too many the first are taken.
    """
    taken: list[Entry] = []
    total = 0
    for entry in entries:
        if total >= wanted:
            break
        taken.append(entry)
        total += entry.repeats
    for extra in range(wanted - total):
        taken[extra % len(taken)].repeats += 1
    return taken


def _read(
    folders: list[Folder],
    trigger_word: str,
    options: EntryOptions,
    found: Findings,
    masks: LatentMasks,
) -> list[Entry]:
    """Read the pictures in `folders`, noting in `found` what to tell."""
    entries: list[Entry] = []
    uncaptioned: list[Path] = []
    untriggered: list[Path] = []
    unread: list[Message] = []
    files = [(folder, path) for folder in folders for path in find_pictures(folder.path)]
    settings = {id(folder): options_in(folder, options) for folder in folders}
    buckets = {id(folder): buckets_of(settings[id(folder)]) for folder in folders}
    for folder, path in files:
        own = settings[id(folder)]
        try:
            picture = read_picture(path)
        except UnusablePictureError as error:
            found.left_out.append((path, error.reason))
            continue
        try:
            caption = read_caption(path, own.caption_extension, alternatives=own.enable_wildcard)
        except UserError as error:
            unread += error.messages
            continue
        if caption is None:
            caption = folder.class_tokens or trigger_word
            if not caption:
                uncaptioned.append(path)
        elif trigger_word and not has_trigger(caption, trigger_word):
            untriggered.append(path)
        fit = buckets[id(folder)].fit(picture.size)
        entries.append(
            Entry(
                path,
                folder,
                folder.repeats,
                with_affixes(
                    with_trigger(caption, trigger_word), own.caption_prefix, own.caption_suffix
                ),
                picture.digest,
                fit,
                masks.of(picture, fit, own, guess=not folder.is_regularisation),
            )
        )
    if unread:  # its picture alone would teach what nobody meant
        raise UserError(*unread[:MOST_TOLD])
    if not entries:
        places = ", ".join(str(folder.path) for folder in folders)
        if not found.left_out:
            raise UserError(
                "There are no pictures in {folder}; put them there, or into folders in it named "
                "like 10_name.",
                folder=places,
            )
        raise none_usable(places, *found.left_out[-1])
    if uncaptioned:
        found.messages.append(
            Message(
                "Without a caption: {names}. Write one beside each picture (1.txt for 1.png), or "
                "give trigger_word.",
                about="trigger_word",
                level="warning",
                names=short_list(uncaptioned),
            )
        )
    if untriggered:
        found.messages.append(
            Message(
                "{word} was put in front of: {names}.",
                level="note",
                word=trigger_word,
                names=short_list(untriggered),
            )
        )
    return entries


# Pictures enlarged more than this are blurred to the eye; of what is cropped, so much is a loss.
_ENLARGED, _CROPPED = 1.5, 0.2


def _what_trains_badly(entries: list[Entry], options: EntryOptions) -> Iterator[Message]:
    enlarged = [entry.path for entry in entries if entry.fit.scale > _ENLARGED]
    if enlarged:
        yield Message(
            "Enlarged more than {n} times, so blurred: {names}. Use larger pictures, a smaller "
            "resolution or bucket_no_upscale.",
            about="resolution",
            level="warning",
            n=_ENLARGED,
            names=short_list(enlarged),
        )
    cropped = [entry.path for entry in entries if entry.fit.cropped > _CROPPED]
    if cropped:
        yield Message(
            "Cropped by more than {share}: {names}. {advice}",
            level="warning",
            share=f"{_CROPPED:.0%}",
            names=short_list(cropped),
            advice=Message(
                "A caption may name what is cropped away."
                if options.enable_bucket
                else "enable_bucket keeps them whole."
            ),
        )
    twins = defaultdict(list)
    for entry in entries:
        twins[entry.digest].append(entry.path)
    for paths in twins.values():
        if len(paths) > 1:
            yield Message(
                "The same picture several times: {names}.", level="warning", names=short_list(paths)
            )


def short_list(paths: Sequence[Path], most: int = 3) -> Message | list[str]:
    """The names of some files, of many the first, for a sentence."""
    names = [path.name for path in paths]
    if len(names) <= most:
        return names
    return Message("{names} and {n} more", names=names[:most], n=len(names) - most)
