"""What the loop needs before its first step: device, latents, the network and its rates."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from lib_rimo.errors import UserError
from lib_rimo.lora.files import read_lora
from lib_rimo.messages import Message, Tell
from lib_rimo.sd.checkpoint import Checkpoint, load_checkpoint
from lib_rimo.sd.family import PredictionType
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.data.dataset import TrainingSet
from lib_rimo.training.masking import Masking
from lib_rimo.training.network.checkpointing import recompute_large_activations
from lib_rimo.training.network.heap import give_back_gaps
from lib_rimo.training.network.layers import Form
from lib_rimo.training.network.lean_unet import make_lean
from lib_rimo.training.network.narrow import narrow_type, narrow_unet
from lib_rimo.training.network.network import Network, Rank
from lib_rimo.training.network.swapping import BlockSwapper, spread, swappable_blocks
from lib_rimo.training.noise import Noise
from lib_rimo.training.objective import Objective
from lib_rimo.training.validation import block_values
from lib_rimo.training.weighting import Weighting


def make_accelerator(options: TrainingOptions, tell: Tell) -> Accelerator:
    """Accelerate's view of this process: its device, its precision, its place among others."""
    precision = options.mixed_precision
    cpu = options.device == "cpu"
    has_gpu = not cpu and torch.cuda.is_available()
    if precision == "auto":
        precision = "no"
        if has_gpu:
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if precision == "fp16" and not (has_gpu or (not cpu and torch.backends.mps.is_available())):
        tell(
            Message(
                "mixed_precision fp16 needs a GPU: fp32 is used.",
                about="mixed_precision",
                level="warning",
            )
        )
        precision = "no"
    if has_gpu and sys.platform == "linux":
        # Blocks that grow leave fewer gaps in a GPU's memory; read when it is first used.
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    accelerator = Accelerator(cpu=cpu, mixed_precision=precision)
    if options.device not in ("auto", accelerator.device.type):
        raise UserError(
            "device is {device} but this machine offers {offered}: use device auto.",
            device=options.device,
            offered=accelerator.device.type,
            about="device",
        )
    return accelerator


def load_base_model(
    options: TrainingOptions, device: torch.device, dtype: torch.dtype, tell: Tell
) -> Checkpoint:
    """The checkpoint that the options name, its convolutions as they are fastest to train through.

    It predicts what the options say, for samples too; `tell` hears where nothing states that.

    On a CPU channels-last makes the autoencoder a quarter faster in bf16, and the lean UNet can
    take its weights as matrices.
    """
    is_cpu = device.type == "cpu"
    checkpoint = load_checkpoint(
        options.pretrained_model_name_or_path,
        device="cpu" if is_placed_later(options) else device,
        dtype=dtype,
        memory_format=torch.channels_last if is_cpu else torch.contiguous_format,
        vae=options.vae,
    )
    if options.blocks_to_swap and device.type != "cuda":
        tell(
            Message(
                "blocks_to_swap changes nothing without a GPU that has memory of its own.",
                about="blocks_to_swap",
                level="note",
            )
        )
    for message in settle_prediction(checkpoint, options):
        tell(message)
    return checkpoint


def is_placed_later(options: TrainingOptions) -> bool:
    """Whether the base model goes to the GPU no sooner than it is as small as it will be."""
    return bool(options.fp8_base or options.blocks_to_swap or options.cache_text_encoder_outputs)


def place_base_model(
    checkpoint: Checkpoint, options: TrainingOptions, device: torch.device
) -> None:
    """Bring a base model that was to wait to the device it is trained on.

    Text encoders whose outputs are cached stay in main memory.
    """
    if options.fp8_base:
        narrow_unet(checkpoint.unet, narrow_type(device), device)
    if is_placed_later(options):
        encoders = [] if options.cache_text_encoder_outputs else checkpoint.text_encoders
        for model in (checkpoint.unet, checkpoint.vae, *encoders):
            model.to(device)


def settle_prediction(checkpoint: Checkpoint, options: TrainingOptions) -> Iterator[Message]:
    """Have a checkpoint predict what the options say; yields what the user should know of it."""
    wanted, found = options.v_parameterization, checkpoint.prediction_type
    is_v = found == "v_prediction"
    kind = prediction_name(found, checkpoint.zero_terminal_snr)
    source = checkpoint.prediction_source
    if wanted is not None:
        if wanted != is_v and source != "assumed":
            yield Message(
                "v_parameterization is {value}, but the base model predicts {kind}: leave it "
                "empty, unless you know better.",
                about="v_parameterization",
                level="warning",
                value=str(wanted).lower(),
                kind=kind,
            )
        checkpoint.prediction_type = "v_prediction" if wanted else "epsilon"
        checkpoint.zero_terminal_snr &= wanted or not is_v
    elif source == "probed" and is_v:
        yield Message(
            "The base model does not state what it predicts. Asked, it predicts {kind}, and is "
            "trained so; if that is wrong, set v_parameterization or zero_terminal_snr. A WebUI "
            "may take it for a model that predicts noise, until a .yaml of its name beside it says "
            "v.",
            about="v_parameterization",
            level="warning",
            kind=kind,
        )
    elif source == "probed":
        yield Message(
            "The base model does not state what it predicts. Asked, it predicts {kind}, and is "
            "trained so; if that is wrong, set v_parameterization to true.",
            about="v_parameterization",
            level="note",
            kind=kind,
        )
    if options.zero_terminal_snr is not None:
        if checkpoint.zero_terminal_snr and not options.zero_terminal_snr:
            yield Message(
                "zero_terminal_snr is false, but the base model was made with it: leave it empty, "
                "unless you know better.",
                about="zero_terminal_snr",
                level="warning",
            )
        checkpoint.zero_terminal_snr = options.zero_terminal_snr


def prediction_name(prediction_type: PredictionType, zero_terminal_snr: bool) -> Message:
    """What a model predicts, as a part of a sentence."""
    if prediction_type == "epsilon":
        return Message("noise")
    return Message("v with zero terminal SNR" if zero_terminal_snr else "v")


def encode_with_vae(checkpoint: Checkpoint, data: TrainingSet, options: TrainingOptions) -> None:
    """Have the training set encode its pictures with the checkpoint's autoencoder."""
    vae = checkpoint.vae
    if options.no_half_vae:
        vae.to(torch.float32)

    @torch.no_grad()
    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        give_back_gaps()  # left by a step: its own are of other sizes
        posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
        give_back_gaps()
        return posterior.mean, posterior.std

    data.encode_with(encode, vae_identity(vae) if options.cache_latents_to_disk else "")


def vae_identity(vae: nn.Module) -> str:
    """A short name of an autoencoder by its weights, for caches on disk."""
    sums = [parameter.double().sum().item() for parameter in vae.parameters()]
    return f"{sum(sums):.10e}-{len(sums)}"


def make_network(checkpoint: Checkpoint, options: TrainingOptions) -> Network:
    """Attach the network that the options describe to the checkpoint."""
    dims = block_values(options.block_dims, "block_dims")
    alphas = block_values(options.block_alphas, "block_alphas")

    def rank_of(block: str) -> Rank:
        dim = int(dims.get(block, options.network_dim if not dims else 0))
        return Rank(
            dim=dim,
            alpha=alphas.get(block, options.network_alpha),
            conv_dim=(options.conv_dim or 0) if dim else 0,
            conv_alpha=1.0 if options.conv_alpha is None else options.conv_alpha,
        )

    network = Network(
        checkpoint.family,
        checkpoint.unet if options.unet_learning_rate else None,
        checkpoint.text_encoders if options.text_encoder_learning_rate else [],
        rank_of,
        form=form_of(options),
    )
    if options.network_weights:
        network.load_tensors(read_lora(options.network_weights).tensors)
    if options.full_bf16:
        for parameter in network.parameters():
            parameter.data = parameter.to(torch.bfloat16)
    return network


def form_of(options: TrainingOptions) -> Form:
    """What the options say of all layers alike."""
    return Form(**named_like(Form, options))


def up_ratio_of(network: Network, options: TrainingOptions) -> Callable[[str], float]:
    """LoRA+'s ratio for a layer by its key: its model's own, else that of both; 0 stands for 1."""
    both = options.loraplus_lr_ratio

    def ratio(key: str) -> float:
        if network.block_of(key) == "BASE":
            return options.loraplus_text_encoder_lr_ratio or both or 1.0
        return options.loraplus_unet_lr_ratio or both or 1.0

    return ratio


def learning_rate_of(network: Network, options: TrainingOptions) -> Callable[[str], float]:
    """The learning rate of a layer by its key: its model's, times its block's factor."""
    factors = block_values(options.block_lr_weight, "block_lr_weight")

    def rate(key: str) -> float:
        block = network.block_of(key)
        rates = options.text_encoder_learning_rate, options.unet_learning_rate
        return rates[block != "BASE"] * factors.get(block, 0.0 if factors else 1.0)

    return rate


def set_training_mode(checkpoint: Checkpoint, options: TrainingOptions) -> None:
    """Prepare the frozen models for a backward pass."""
    make_lean(checkpoint.unet)
    checkpoint.unet.train()
    for encoder in checkpoint.text_encoders:
        encoder.train()
    unet = checkpoint.unet
    swaps = bool(options.blocks_to_swap) and unet.device.type == "cuda"
    if options.gradient_checkpointing:
        recompute_large_activations(
            unet,
            checkpoint.family,
            is_random=form_of(options).is_random,
            swapped=swaps,
            cpu_offload=options.cpu_offload_checkpointing,
        )
    if swaps:
        BlockSwapper(spread(swappable_blocks(unet), options.blocks_to_swap), unet.device)


def make_objective(checkpoint: Checkpoint, options: TrainingOptions) -> Objective:
    """The objective of a checkpoint that predicts what the options say."""
    return Objective(
        checkpoint.prediction_type,
        options.seed,
        zero_terminal_snr=checkpoint.zero_terminal_snr,
        min_timestep=options.min_timestep,
        max_timestep=options.max_timestep,
        prior_prediction_min_timestep=options.prior_prediction_min_timestep,
        noise=Noise(**named_like(Noise, options)),
        weighting=Weighting(**named_like(Weighting, options)),
        masking=Masking(**named_like(Masking, options)),
    )


def named_like(kind: type, options: TrainingOptions) -> dict[str, Any]:
    """The options that a dataclass has fields of the same names for."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(kind)}
