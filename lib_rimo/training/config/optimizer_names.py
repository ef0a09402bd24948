"""Which optimizers there are, by name, without loading the libraries that have them."""

from __future__ import annotations

import ast
from typing import Any

from lib_rimo.errors import UserError

# kohya's names that pytorch-optimizer spells otherwise.
ALIASES = {
    "dadaptation": "dadaptadam",
    "dadaptadampreprint": "dadaptadam",
    "dadaptadanip": "dadaptadan",
    "adamwschedulefree": "schedulefreeadamw",
    "sgdschedulefree": "schedulefreesgd",
    "radamschedulefree": "schedulefreeradam",
    "sgdnesterov": "sgd",
    "sgdnesterov8bit": "sgd8bit",
}
BITSANDBYTES = (
    *("AdamW8bit", "Lion8bit", "Adam8bit", "SGD8bit"),
    *("PagedAdamW", "PagedAdamW32bit", "PagedAdamW8bit", "PagedLion8bit"),
)
# pytorch-optimizer's, which a WebUI's own environment does not have.
NAMES = frozenset(
    [
        "a2grad",
        "accsgd",
        "adabelief",
        "adabound",
        "adadelta",
        "adafactor",
        "adagc",
        "adago",
        "adahessian",
        "adai",
        "adalite",
        "adalomo",
        "adam",
        "adamax",
        "adamc",
        "adamg",
        "adammini",
        "adamod",
        "adamp",
        "adams",
        "adamuon",
        "adamw",
        "adamwsn",
        "adan",
        "adanorm",
        "adapnm",
        "adashift",
        "adasmooth",
        "adatam",
        "ademamix",
        "adopt",
        "aggmo",
        "aida",
        "alice",
        "alig",
        "amos",
        "ano",
        "apollo",
        "apollodqn",
        "asgd",
        "avagrad",
        "bcos",
        "bsam",
        "came",
        "conda",
        "dadaptadagrad",
        "dadaptadam",
        "dadaptadan",
        "dadaptlion",
        "dadaptsgd",
        "dash",
        "demo",
        "diffgrad",
        "distributedmuon",
        "dualadam",
        "emofact",
        "emolynx",
        "emonavi",
        "exadam",
        "fadam",
        "fira",
        "flashadamw",
        "focus",
        "fromage",
        "ftrl",
        "galore",
        "grams",
        "gravity",
        "grokfastadamw",
        "kate",
        "kron",
        "lamb",
        "laprop",
        "lars",
        "lbfgs",
        "lion",
        "lomo",
        "lorarite",
        "madgrad",
        "magma",
        "mars",
        "msvag",
        "muon",
        "muonclip",
        "nadam",
        "nero",
        "normuon",
        "novograd",
        "padam",
        "pid",
        "pnm",
        "prodigy",
        "qhadam",
        "qhm",
        "racs",
        "radam",
        "ranger",
        "ranger21",
        "rmsprop",
        "rose",
        "sara",
        "scalableshampoo",
        "schedulefreeadamw",
        "schedulefreeradam",
        "schedulefreesgd",
        "scion",
        "scionlight",
        "sgd",
        "sgdp",
        "sgdsai",
        "sgdw",
        "shampoo",
        "signsgd",
        "simplifiedademamix",
        "sm3",
        "soap",
        "sophiah",
        "spam",
        "spectralsphere",
        "splus",
        "srmm",
        "stableadamw",
        "stablespam",
        "swats",
        "tam",
        "tiger",
        "vsgd",
        "yogi",
    ]
)

# They want the gradient's own gradient, the loss computed again, the model as a whole, or to know
# which weights are which. A step here has parameters and their gradients.
NEEDING_MORE = frozenset(
    [
        *("adahessian", "sophiah", "alig", "bsam", "lbfgs"),
        *("adalomo", "adammini", "demo", "lomo"),
        *("adago", "adamuon", "distributedmuon", "muon", "muonclip", "normuon"),
    ]
)


def check_optimizer(asked: str) -> None:
    """Raise UserError for an optimizer that does not exist, or cannot be used here."""
    name = asked.lower().replace("_", "")
    name = ALIASES.get(name, name)
    if is_bitsandbytes(name):
        if name not in map(str.lower, BITSANDBYTES):
            raise UserError(
                "bitsandbytes has no {name}: use one of {list}.",
                name=asked,
                list=BITSANDBYTES,
                about="optimizer_type",
            )
    elif name not in NAMES:
        raise UserError(
            "optimizer_type is {value}: use Lion, AdamW, AdaFactor, Prodigy, DAdaptAdam, "
            "ScheduleFreeAdamW or another name that pytorch-optimizer knows.",
            value=repr(asked),
            about="optimizer_type",
        )
    if name in NEEDING_MORE:
        raise UserError(
            "{optimizer} needs more than each gradient: use Lion, AdamW or another one.",
            optimizer=asked,
            about="optimizer_type",
        )


def is_bitsandbytes(name: str) -> bool:
    """Whether a name, in small letters, is that of an optimizer of bitsandbytes."""
    return name.startswith("paged") or name.endswith("8bit")


def read_arguments(texts: list[str], option: str) -> dict[str, Any]:
    """Values by name from texts like `weight_decay=0.01`; UserError for what is no such text."""
    arguments = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            if not (equals and name.strip().isidentifier()):
                raise ValueError
            arguments[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise UserError(
                "{option} has {value}: write name=value, as in weight_decay=0.01.",
                option=option,
                value=repr(text),
                about=option,
            ) from None
    return arguments
