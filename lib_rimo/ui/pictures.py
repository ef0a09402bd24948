"""The Train tab's pictures: sets that were dropped in, captions, sets made of few pictures."""

from __future__ import annotations

import base64
import binascii
import re
import shutil
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.hosts.training import TrainingHost, check_folder
from lib_rimo.messages import Message
from lib_rimo.sd.native import native_of
from lib_rimo.training.augment.origin import source_of
from lib_rimo.training.data.booru_tags import common_tags
from lib_rimo.training.data.picture_set import PictureSet
from lib_rimo.training.jobs.queue import Queue
from lib_rimo.ui.opened_folders import OpenedFolders
from lib_rimo.ui.replies import Reply, as_json
from lib_rimo.ui.verbs import Verbs


class Pictures:
    """Answers what the page asks about pictures."""

    def __init__(
        self, host: TrainingHost, queue: Queue, opened: OpenedFolders, verbs: Verbs
    ) -> None:
        self.host = host
        self.queue = queue
        self.opened = opened
        self._verbs = verbs
        self._dropped = host.home / "pictures"
        self._made = host.home / "augmented"

    def sets(self) -> list[str]:
        """The folders of all sets that were dropped in."""
        root = self._dropped
        folders = sorted(root.iterdir()) if root.is_dir() else []
        sets = [PictureSet(folder.resolve(), self.opened.held) for folder in folders]
        return [str(known.folder) for known in sets if known.pictures()]

    def do_new_set(self, asked: Reply) -> Reply:
        """Make an empty set of pictures."""
        root = self._dropped
        root.mkdir(parents=True, exist_ok=True)
        number = 1
        while (folder := root / f"set-{number:02d}").exists():
            number += 1
        folder.mkdir()
        return {"set": str(folder), "pictures": []}

    def do_pictures(self, asked: Reply) -> Reply:
        """The pictures of a set."""
        pictures = PictureSet(self.opened.open(Path(asked["set"])), self.opened.held)
        shown = [
            {**vars(picture), "left_out": picture.left_out and picture.left_out.as_json()}
            for picture in pictures.shown()
        ]
        own = pictures.folder.is_relative_to((self._dropped).resolve())
        return {
            "set": str(pictures.folder),
            "pictures": shown,
            "own": own,
            "source": source_of(pictures.folder),
        }

    def do_picture(self, asked: Reply) -> Reply:
        """One picture, large."""
        return {"picture": self.set_of(asked).large(asked["name"])}

    def do_crop(self, asked: Reply) -> Reply:
        """Keep a part of a dropped picture: `box` is left, top, right, bottom, of 0 to 1."""
        left, top, right, bottom = map(float, asked["box"])
        self._own_set(asked).crop(asked["name"], (left, top, right, bottom))
        return self.do_pictures(asked)

    def do_add(self, asked: Reply) -> Reply:
        """Take in dropped files: `files` with `name` and base64 `content`."""
        pictures = self._own_set(asked)
        refused: list[Message] = []
        for file in asked["files"]:
            try:
                pictures.add(file["name"], base64.b64decode(file["content"], validate=True))
            except binascii.Error:
                torn = "{file} did not arrive whole: drop it again."
                refused.append(Message(torn, file=file["name"], about=file["name"]))
            except UserError as error:
                refused += error.messages
        return {**self.do_pictures(asked), "refused": as_json(refused)}

    def do_remove(self, asked: Reply) -> Reply:
        """Delete one picture of a set that was dropped in."""
        self._own_set(asked).remove(asked["name"])
        return self.do_pictures(asked)

    def do_caption(self, asked: Reply) -> Reply:
        """Write one caption."""
        self.set_of(asked).set_caption(asked["name"], asked["caption"])
        return {}

    def do_tags(self, asked: Reply) -> Reply:
        """The most common tags of booru sites, the most common of each kind first."""
        return {"tags": common_tags()}

    def do_interrogate(self, asked: Reply) -> Reply:
        """Let the host propose the caption of one picture; it is not written yet."""
        propose = self.host.interrogators().get(asked["with"])
        if propose is None:
            raise UserError("This WebUI has no {name}.", name=asked["with"])
        return {"caption": propose(self.set_of(asked).path(asked["name"]))}

    def do_augment(self, asked: Reply) -> Reply:
        """Make many pictures of few, in a folder of their own, and show them."""
        source = self.set_of(asked).folder
        folder = self._folder_for_made(source.name, source)
        folder.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["augment", str(source), str(folder), "--count", str(int(asked["count"]))]
        arguments += ["--seed", str(int(asked["seed"])), "--name", asked["name"] or "pictures"]
        if asked.get("base"):
            base = check_folder(Path(asked["base"]), self.host, is_model=True)
            native_of(base)  # or says what is wrong with it
            arguments += ["--model", str(base)]
        if asked.get("resolution"):
            arguments += ["--resolution", str(asked["resolution"])]
        if not asked.get("mirror", True):
            arguments.append("--no-mirror")
        if int(asked.get("scenes") or 0):
            arguments += ["--scenes", str(int(asked["scenes"]))]
        messages = self._verbs.run(arguments, str(asked.get("ticket", "")))
        return {**self.do_pictures({"set": str(folder)}), "messages": as_json(messages)}

    def do_discard(self, asked: Reply) -> Reply:
        """Throw one made picture out; from a copy where a job needs the others as they are."""
        from lib_rimo.training.augment.augmentation import discard

        folder = self.set_of(asked).folder
        if not self.is_made(folder):
            raise UserError("Only pictures that were made here can be thrown out.")
        if folder in self._needed():
            copy = self._folder_for_made(re.sub(r"-\d+$", "", folder.name))
            folder = shutil.copytree(folder, copy)
        held = self.opened.held
        discard(folder, {PictureSet(folder, held).path(asked["name"])}, held)
        return self.do_pictures({"set": str(folder)})

    def is_made(self, folder: Path) -> bool:
        """Whether a set was made here of other pictures."""
        return folder.is_relative_to(self._made.resolve())

    def set_of(self, asked: Reply) -> PictureSet:
        """The set, of those that were opened, that is asked for by its folder; raises UserError."""
        return PictureSet(self.opened.find(Path(asked["set"])), self.opened.held)

    def _own_set(self, asked: Reply) -> PictureSet:
        """A set of dropped pictures: of other folders nothing is deleted or overwritten."""
        pictures = self.set_of(asked)
        if not pictures.folder.is_relative_to((self._dropped).resolve()):
            raise UserError("This folder is yours: add and remove its pictures there.")
        return pictures

    def _needed(self) -> set[Path]:
        """The folders that jobs train on, or would once they are resumed."""
        return {
            Path(job.options.train_data_dir).resolve()
            for job in self.queue.jobs()
            if job.snapshot.damage is None
        }

    def _folder_for_made(self, name: str, source: Path | None = None) -> Path:
        """Where pictures made of the set of that name go: a folder that nobody would miss.

        A new one, or one with pictures made of `source` that no job needs and nobody has edited.
        """
        needed = self._needed()
        number = 1
        while (folder := self._made / f"{name}-{number}").exists():
            if source is not None and folder.resolve() not in needed:
                from lib_rimo.training.augment.augmentation import is_untouched

                if is_untouched(folder, source):
                    break
            number += 1
        return folder
