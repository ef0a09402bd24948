"""How long and how fast: steps, batches, optimizer, learning rates."""

from __future__ import annotations

from dataclasses import dataclass

from lib_rimo.training.config.declaration import option

SCHEDULERS = ("constant", "linear", "cosine", "cosine_with_restarts", "polynomial")
SCHEDULERS_WITH_WARMUP = (*SCHEDULERS, "constant_with_warmup")


@dataclass
class Recipe:
    """The options of the group `recipe`."""

    max_train_steps: int = option(
        1000,
        "Optimizer steps; few pictures want few",
        "recipe",
        minimum=1,
        maximum=1_000_000,
        usual="500 – 3000",
    )
    max_train_epochs: int | None = option(
        None,
        "Passes over all pictures; overrides the steps; 0: as many as the steps",
        "recipe",
        minimum=0,
    )
    train_batch_size: int = option(
        2, "Pictures a step", "recipe", minimum=1, maximum=1024, usual="1 – 4"
    )
    gradient_accumulation_steps: int = option(
        1, "Batches whose gradients make one step", "recipe", minimum=1, maximum=1024
    )
    optimizer_type: str = option(
        "Lion",
        "Lion, AdamW, AdaFactor, Prodigy, DAdaptAdam, ScheduleFreeAdamW, Lion8bit, ...",
        "recipe",
    )
    optimizer_args: list[str] = option(  # noqa: RUF009 - it gives a field
        [], "More arguments of the optimizer, each name=value", "recipe"
    )
    learning_rate: float | None = option(
        None, "Learning rate of what has none of its own", "recipe", minimum=0
    )
    unet_lr: float | None = option(
        5e-5,
        "Learning rate of the UNet's layers",
        "recipe",
        minimum=0,
        usual="2e-5 – 1e-4 (Lion), 1e-4 – 1e-3 (AdamW)",
    )
    text_encoder_lr: float | None = option(
        2e-5,
        "Learning rate of the text encoder's layers; 0 leaves it alone",
        "recipe",
        minimum=0,
        usual="0, or a third of unet_lr",
    )
    lr_scheduler: str = option(
        "cosine_with_restarts",
        "How the learning rate changes over the run",
        "recipe",
        choices=SCHEDULERS_WITH_WARMUP,
    )
    lr_scheduler_num_cycles: int = option(
        1, "Cycles of cosine_with_restarts; 1 is the same as cosine", "recipe", minimum=1
    )
    lr_scheduler_power: float = option(1.0, "Power of polynomial", "recipe", minimum=0)
    lr_scheduler_type: str = option(
        "", "A schedule of torch.optim.lr_scheduler by its name, instead", "recipe"
    )
    lr_scheduler_args: list[str] = option(  # noqa: RUF009 - it gives a field
        [], "Its arguments, each name=value", "recipe"
    )
    lr_warmup_steps: float = option(
        0.0,
        "Steps of rising learning rate, also before constant; below 1 a share of all steps",
        "recipe",
        minimum=0,
    )
    max_grad_norm: float = option(
        1.0, "Longest gradient; longer ones are shortened; 0: never", "recipe", minimum=0
    )
    seed: int = option(1, "Everything random comes from it", "recipe", minimum=0, maximum=2**32 - 1)
