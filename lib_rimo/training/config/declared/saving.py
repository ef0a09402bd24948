"""What is written on the way, and what is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from lib_rimo.training.config.declaration import option


@dataclass
class Saving:
    """The options of the group `saving`."""

    save_every_n_steps: int = option(
        0,
        "Save the LoRA (name-step00000500) every so many steps; 0: only at the end",
        "saving",
        minimum=0,
    )
    save_every_n_epochs: int = option(
        0, "The same every so many passes over the pictures", "saving", minimum=0
    )
    save_state_every_n_steps: int = option(
        100,
        "Save what a killed run needs to go on every so many steps; 0: never",
        "saving",
        minimum=0,
    )
    save_precision: str = option(
        "fp16", "Precision of the saved LoRA", "saving", choices=("fp16", "bf16", "float")
    )
    sample_every_n_steps: int = option(
        0,
        "Draw sample pictures every so many steps; 0: none",
        "saving",
        minimum=0,
        usual="0, or 50 – 250",
    )
    sample_prompts: str = option(
        "", "What to draw: a prompt, or a text file of them, a line each", "saving"
    )
    training_comment: str = option("", "Kept in the LoRA's metadata", "saving")
