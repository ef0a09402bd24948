"""What is learned: noise, loss, what is read of the captions."""

from __future__ import annotations

from dataclasses import dataclass

from lib_rimo.training.config.declaration import option


@dataclass
class ObjectiveOptions:
    """The options of the group `objective`."""

    v_parameterization: bool | None = option(
        None, "Predict v instead of noise; empty: as the base model does", "objective"
    )
    zero_terminal_snr: bool = option(False, "End the noise schedule in pure noise", "objective")
    min_snr_gamma: float | None = option(
        None, "Weigh steps by min(SNR, gamma); 5 is usual, 0 is off", "objective", minimum=0
    )
    noise_offset: float = option(
        0.0,
        "Shift each channel of the noise; helps very dark and bright pictures",
        "objective",
        minimum=0,
        maximum=1,
    )
    clip_skip: int = option(
        1,
        "Layer of SD1's text encoder, from the end",
        "objective",
        minimum=1,
        maximum=12,
    )
    max_token_length: int = option(
        75, "Longest caption in tokens: 75, 150 or 225", "objective", minimum=75, maximum=225
    )
