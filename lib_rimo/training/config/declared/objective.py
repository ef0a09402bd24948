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
    zero_terminal_snr: bool | None = option(
        None, "End the noise schedule in pure noise; empty: as the base model does", "objective"
    )
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
    noise_offset_random_strength: bool = option(
        False, "Draw how far noise_offset shifts, up to its value", "objective"
    )
    adaptive_noise_scale: float = option(
        0.0,
        "Add so much of each channel's mean to noise_offset",
        "objective",
        minimum=-10,
        maximum=10,
    )
    multires_noise_iterations: int = option(
        0,
        "Add coarser noise so many times; helps very dark and bright pictures; 0: none",
        "objective",
        minimum=0,
        maximum=64,
        usual="6 – 10",
    )
    multires_noise_discount: float = option(
        0.3, "Share of each coarser noise of the one before", "objective", minimum=0, maximum=1
    )
    ip_noise_gamma: float = option(
        0.0,
        "Add so much noise that the model is not told of",
        "objective",
        minimum=0,
        maximum=1,
        usual="0.1",
    )
    ip_noise_gamma_random_strength: bool = option(
        False, "Draw how much ip_noise_gamma adds, up to its value", "objective"
    )
    min_timestep: int = option(
        0, "Least noise that is learned from, of 1000", "objective", minimum=0, maximum=999
    )
    max_timestep: int = option(
        1000,
        "Noise from here on is not learned from; the last timesteps decide what is where",
        "objective",
        minimum=1,
        maximum=1000,
    )
    loss_type: str = option(
        "l2",
        "How errors count: l2 by their square; huber and smooth_l1 mind outliers less",
        "objective",
        choices=("l2", "l1", "huber", "smooth_l1"),
    )
    huber_c: float = option(
        0.1,
        "From where on huber and smooth_l1 count errors by their size",
        "objective",
        minimum=1e-6,
        maximum=1,
    )
    huber_scale: float = option(1.0, "Factor on huber_c", "objective", minimum=1e-6)
    huber_schedule: str = option(
        "snr",
        "How huber_c follows the timestep",
        "objective",
        choices=("snr", "exponential", "constant"),
    )
    debiased_estimation_loss: bool = option(
        False, "Weigh steps by one over the root of their signal-to-noise", "objective"
    )
    scale_v_pred_loss_like_noise_pred: bool = option(
        False, "Weigh the steps of a model that predicts v as if it predicted noise", "objective"
    )
    v_pred_like_loss: float = option(
        0.0,
        "Add so much of the loss as if the model predicted v",
        "objective",
        minimum=0,
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
