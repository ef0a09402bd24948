"""What is written on the way, and what is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from lib_rimo.training.config.declaration import option

SAMPLERS = (
    *("", "ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpmsolver"),
    *("dpmsolver++", "dpmsingle", "k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a"),
)
"""kohya's; those that are not at hand are drawn by the nearest that is."""


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
    save_last_n_steps: int = option(
        0,
        "Keep what was saved in so many last steps, not what is older; 0: all",
        "saving",
        minimum=0,
    )
    save_last_n_epochs: int = option(
        0,
        "Keep what was saved of so many last epochs, not what is older; 0: all",
        "saving",
        minimum=0,
    )
    logging_dir: str = option("", "Folder for TensorBoard; empty: nothing is written", "saving")
    log_prefix: str = option("", "Start of the name of a run's folder there", "saving")
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
    sample_every_n_epochs: int = option(
        0, "The same every so many passes over the pictures, instead", "saving", minimum=0
    )
    sample_at_first: bool = option(False, "Draw them before the first step too", "saving")
    sample_prompts: str = option(
        "", "What to draw: a prompt, or a .txt, .toml or .json file of them", "saving"
    )
    sample_sampler: str = option(
        "",
        "Sampler of the sample pictures, by kohya's names; empty: DPM++ 2M",
        "saving",
        choices=SAMPLERS,
    )
    training_comment: str = option("", "Kept in the LoRA's metadata", "saving")
