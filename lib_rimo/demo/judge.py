"""The judge: says what any picture of this world shows, and how much of rimochan is in it.

judge = Judge.load()
verdict = judge([picture])[0]       # verdict.outfit == "maid", verdict.identity == 0.93, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from lib_rimo.demo.world import VALUES, Attributes, Likeness
from lib_rimo.demo.world.attributes import COLOURED_OUTFITS

WEIGHTS = Path(__file__).parent / "model" / "judge.safetensors"
WIDTH = 128  # pictures are brought to this width
CLASSES: dict[str, tuple[str, ...]] = {
    name: VALUES[name]
    for name in ("outfit", "pose", "place", "hair_colour", "hair_style", "framing", "cloth_colour")
}
GRADES = ("detail", "hair", "tips", "eyes", "ornament")  # numbers in 0..1


@dataclass(frozen=True)
class Verdict:
    """What the judge sees. `pose` means something in a full body picture only."""

    outfit: str
    pose: str
    place: str
    hair_colour: str
    hair_style: str
    framing: str
    cloth_colour: str  # of kimonos, dresses and t-shirts
    detail: float  # of the background, 0 (flat) to 1 (crowded)
    likeness: Likeness
    twintails: float  # how likely the hair is worn so, 0..1

    @property
    def identity(self) -> float:
        """How much of rimochan's look the picture shows, 0..1: the mean of her five features."""
        return (4 * self.likeness.score + self.twintails) / 5

    def agrees(self, truth: Attributes) -> dict[str, bool]:
        """For each class of attributes, whether the picture shows what it should."""
        return {
            name: getattr(self, name) == true_class(truth, name)
            for name in CLASSES
            if can_be_seen(truth, name)
        }


def true_class(truth: Attributes, name: str) -> str:
    """The right answer for one of CLASSES."""
    if name == "hair_colour" and truth.likeness.hair > 0.5:
        return "silver"
    return str(getattr(truth, name))


def can_be_seen(truth: Attributes, name: str) -> bool:
    """Whether a drawing shows this of CLASSES at all."""
    if name == "pose":
        return truth.framing == "full body"
    return name != "cloth_colour" or truth.outfit in COLOURED_OUTFITS


def true_identity(truth: Attributes) -> float:
    """What `Verdict.identity` of a clean drawing should be."""
    return (4 * truth.resemblance.score + (truth.hair_style == "twintails")) / 5


class JudgeNetwork(nn.Module):
    """Four levels of convolutions at half the pictures' size, a coarse grid, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Linear(widths[-1] * 12, 192)
        self.sizes = [len(classes) for classes in CLASSES.values()] + [len(GRADES)]
        self.output = nn.Linear(192, sum(self.sizes))

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) in -1..1 -> logits of each of CLASSES, then of GRADES (N, 5)."""
        features = self.features(functional.avg_pool2d(pictures, 2))
        grid = functional.adaptive_avg_pool2d(features, (4, 3))
        answers: Tensor = self.output(functional.relu(self.hidden(grid.flatten(1))))
        return torch.split(answers, self.sizes, dim=1)


class Judge:
    """Judges pictures; see the module's docstring."""

    def __init__(self, network: JudgeNetwork) -> None:
        self.network = network.eval()

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Judge:
        """The trained judge."""
        network = JudgeNetwork()
        network.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
        )
        return cls(network)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Image.Image] | NDArray[np.uint8]) -> list[Verdict]:
        """A verdict for each picture: Pillow images, or bytes (N, H, W, 3)."""
        verdicts = []
        for start in range(0, len(pictures), 32):
            batch = [_prepared(picture) for picture in pictures[start : start + 32]]
            if len({tensor.shape for tensor in batch}) == 1:
                verdicts += self._judge(torch.stack(batch))
            else:
                verdicts += [self._judge(tensor[None])[0] for tensor in batch]
        return verdicts

    def _judge(self, batch: Tensor) -> list[Verdict]:
        *logits, grades = self.network(batch)
        words = {
            name: [classes[index] for index in logit.argmax(dim=1).tolist()]
            for (name, classes), logit in zip(CLASSES.items(), logits, strict=True)
        }
        styles = dict(zip(CLASSES, logits, strict=True))["hair_style"].softmax(dim=1)
        twintails = styles[:, CLASSES["hair_style"].index("twintails")].tolist()
        numbers = grades.sigmoid().tolist()
        return [
            Verdict(
                **{name: column[row] for name, column in words.items()},
                detail=detail,
                likeness=Likeness(*features),
                twintails=twintails[row],
            )
            for row, (detail, *features) in enumerate(numbers)
        ]


def _prepared(picture: Image.Image | NDArray[np.uint8]) -> Tensor:
    """A picture as (3, H, 128) in -1..1."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image = image.convert("RGB")
    if image.width != WIDTH:
        height = round(image.height * WIDTH / image.width)
        image = image.resize((WIDTH, height), Image.Resampling.BOX)
    pixels = torch.from_numpy(np.asarray(image).copy())
    return pixels.permute(2, 0, 1).float() / 127.5 - 1
