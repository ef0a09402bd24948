"""The masks of the page's pictures: shown, corrected, replaced by a file, found anew."""

from __future__ import annotations

import base64
import binascii

import numpy as np
from PIL import Image

from lib_rimo.errors import MissingError, UserError
from lib_rimo.messages import Message
from lib_rimo.training.data.masks import NoMaskError, look_over, mask_beside
from lib_rimo.training.data.picture_set import LARGE, THUMBNAIL, as_png
from lib_rimo.ui.pictures import Pictures
from lib_rimo.ui.replies import Reply, as_json
from lib_rimo.ui.verbs import Verbs

SOURCES = {
    "alpha": Message("What is transparent is left out."),
    "file": Message("From the mask file."),
    "plain background": Message("Found in front of a plain background."),
    "model": Message("Found by a segmentation model."),
}


class Masks:
    """Answers what the page asks about masks."""

    def __init__(self, pictures: Pictures, verbs: Verbs) -> None:
        self.pictures, self._verbs = pictures, verbs

    def do_mask(self, asked: Reply) -> Reply:
        """The mask of one picture as an address that holds it, white where the subject is.

        Empty where there is none to be trusted; `messages` say why, or what it comes from. With
        `is_small` as large as a thumbnail.
        """
        pictures, name = self.pictures.set_of(asked), asked["name"]
        has_file = mask_beside(pictures.path(name)).exists()
        rights = {
            "can_edit": not self.pictures.is_made(pictures.folder),
            "has_file": has_file,
        }
        try:
            found = pictures.mask(name)
        except NoMaskError as error:
            none = Message("No mask, so all of it counts: it {reason}.", reason=error.reason)
            return {"mask": "", "source": "", "messages": as_json([none]), **rights}
        messages = [SOURCES[found.source]]
        if found.source in ("alpha", "file"):
            messages += _doubts(found.image)
        rights["can_edit"] &= found.source != "alpha"
        shown = found.image.copy()
        longest = THUMBNAIL if asked.get("is_small") else LARGE
        shown.thumbnail((longest, longest))
        return {
            "mask": "data:image/png;base64," + base64.b64encode(as_png(shown)).decode(),
            "source": found.source,
            "messages": as_json(messages),
            **rights,
        }

    def do_set_mask(self, asked: Reply) -> Reply:
        """Write a picture's mask: `content` is a picture file in base64."""
        try:
            content = base64.b64decode(asked["content"], validate=True)
        except binascii.Error:
            raise UserError("The mask did not arrive whole: send it again.") from None
        self.write(asked, content)
        return self.do_mask(asked)

    def do_find_masks(self, asked: Reply) -> Reply:
        """Write a mask beside each picture that has none, by a model where that is needed."""
        self._refuse_made(asked)
        folder = self.pictures.set_of(asked).folder
        messages = self._verbs.run(["mask", str(folder)], str(asked.get("ticket", "")))
        return {"messages": as_json(messages)}

    def do_forget_mask(self, asked: Reply) -> Reply:
        """Take a picture's mask file away; the mask is found anew."""
        self._refuse_made(asked)
        self.pictures.set_of(asked).forget_mask(asked["name"])
        return self.do_mask(asked)

    def read(self, asked: Reply) -> bytes:
        """A picture's mask as a PNG of the picture's size; raises MissingError."""
        try:
            return as_png(self.pictures.set_of(asked).mask(asked["name"]).image)
        except NoMaskError as error:
            raise MissingError(
                "No mask for {file}, so all of it counts: it {reason}.",
                file=asked["name"],
                reason=error.reason,
            ) from None

    def write(self, asked: Reply, content: bytes) -> None:
        """Write a picture's mask, a picture file's content; raises UserError."""
        self._refuse_made(asked)
        self.pictures.set_of(asked).set_mask(asked["name"], content)

    def _refuse_made(self, asked: Reply) -> None:
        if self.pictures.is_made(self.pictures.set_of(asked).folder):
            raise UserError(
                "Correct the mask of the picture that this one was made of, and make them again."
            )


def _doubts(mask: Image.Image) -> list[Message]:
    """What looks wrong about a mask that is used all the same: its owner made it."""
    try:
        look_over(np.asarray(mask))
    except NoMaskError as error:
        return [Message("Look at it again: it {reason}.", level="warning", reason=error.reason)]
    return []
