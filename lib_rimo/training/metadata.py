"""The `ss_*` metadata that WebUIs and people read in a LoRA file, as kohya's trainer writes it."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_rimo import __version__
from lib_rimo.files import file_hash
from lib_rimo.lora.facts import ARCHITECTURES, BASE_VERSIONS
from lib_rimo.sd.checkpoint import Checkpoint
from lib_rimo.training.config.options import TrainingOptions


@dataclass
class Metadata:
    """Collects what is known of a run; the base model is hashed meanwhile in a thread."""

    options: TrainingOptions
    checkpoint: Checkpoint
    data: dict[str, str]
    num_processes: int = 1
    started_at: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        path = Path(self.options.pretrained_model_name_or_path)
        executor = ThreadPoolExecutor(1)
        self._model_hashes: Future[tuple[str, str]] = executor.submit(model_hashes, path)
        executor.shutdown(wait=False)

    def at(self, step: int, epoch: int, loss: float) -> dict[str, str]:
        """The metadata of the LoRA as it is after this step."""
        options = self.options
        new_hash, legacy_hash = self._model_hashes.result()
        family = self.checkpoint.family
        is_v = self.checkpoint.prediction_type == "v_prediction"
        is_sd = family != "sdxl"  # kohya's trainer marks only the older families by it
        values: dict[str, Any] = {
            **self.data,
            "ss_session_id": int(self.started_at * 1000) & 0xFFFFFFFF,
            "ss_training_started_at": self.started_at,
            "ss_training_finished_at": time.time(),
            "ss_output_name": options.output_name,
            "ss_base_model_version": BASE_VERSIONS[family] + ("_v" if is_v and is_sd else ""),
            "ss_v2": family == "sd2",
            "ss_sd_model_name": Path(options.pretrained_model_name_or_path).name,
            "ss_sd_model_hash": legacy_hash,
            "ss_new_sd_model_hash": new_hash,
            "ss_vae_name": Path(options.vae).name if options.vae else None,
            "ss_network_module": ("networks.lora" if is_plain_lora(options) else "lycoris.kohya"),
            "ss_network_dim": options.network_dim,
            "ss_network_alpha": options.network_alpha,
            "ss_network_dropout": options.network_dropout or None,
            "ss_scale_weight_norms": options.scale_weight_norms or None,
            "ss_network_args": json.dumps(network_arguments(options)),
            "ss_optimizer": " ".join([options.optimizer_type, *options.optimizer_args]),
            "ss_learning_rate": options.learning_rate,
            "ss_unet_lr": options.unet_learning_rate,
            "ss_text_encoder_lr": options.text_encoder_learning_rate,
            "ss_lr_scheduler": options.lr_scheduler,
            "ss_lr_warmup_steps": options.lr_warmup_steps,
            "ss_max_train_steps": options.max_train_steps,
            "ss_max_grad_norm": options.max_grad_norm,
            "ss_gradient_accumulation_steps": options.gradient_accumulation_steps,
            "ss_gradient_checkpointing": options.gradient_checkpointing,
            "ss_mixed_precision": options.mixed_precision,
            "ss_seed": options.seed,
            "ss_clip_skip": options.clip_skip if options.clip_skip > 1 else None,
            "ss_max_token_length": options.max_token_length,
            "ss_noise_offset": options.noise_offset or None,
            "ss_min_snr_gamma": options.min_snr_gamma or None,
            "ss_adaptive_noise_scale": options.adaptive_noise_scale or None,
            "ss_multires_noise_iterations": options.multires_noise_iterations or None,
            "ss_multires_noise_discount": options.multires_noise_discount,
            "ss_noise_offset_random_strength": options.noise_offset_random_strength,
            "ss_ip_noise_gamma": options.ip_noise_gamma or None,
            "ss_ip_noise_gamma_random_strength": options.ip_noise_gamma_random_strength,
            "ss_loss_type": options.loss_type,
            "ss_huber_schedule": options.huber_schedule,
            "ss_huber_c": options.huber_c,
            "ss_huber_scale": options.huber_scale,
            "ss_debiased_estimation": options.debiased_estimation_loss,
            "ss_scale_v_pred_loss_like_noise_pred": options.scale_v_pred_loss_like_noise_pred,
            "ss_v_pred_like_loss": options.v_pred_like_loss or None,
            "ss_zero_terminal_snr": self.checkpoint.zero_terminal_snr,
            "ss_masked_loss": options.masked_loss,
            "ss_cache_latents": True,
            "ss_training_comment": options.training_comment or None,
            "ss_num_epochs": options.max_train_epochs or None,
            "ss_steps": step,
            "ss_epoch": epoch,
            "ss_loss": round(loss, 6),
            "ss_rimo_version": __version__,
            "modelspec.sai_model_spec": "1.0.0",
            "modelspec.architecture": ARCHITECTURES[family],
            "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
            "modelspec.title": options.output_name,
            "modelspec.date": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "modelspec.resolution": options.resolution.replace(",", "x"),
            "modelspec.prediction_type": "v" if is_v else "epsilon",
        }
        return {name: str(value) for name, value in values.items()}


def is_plain_lora(options: TrainingOptions) -> bool:
    """Whether kohya's trainer would need no LyCORIS for this network."""
    return options.network_type == "lora" and not (options.use_scalar or options.train_norm)


def network_arguments(options: TrainingOptions) -> dict[str, str]:
    """What kohya's trainer passes to a network as `network_args`."""
    is_dora = options.network_type == "dora" or options.dora_wd
    algorithm = "lora" if options.network_type == "dora" else options.network_type
    arguments = {
        "algo": None if is_plain_lora(options) else algorithm,
        "dora_wd": is_dora or None,
        "use_scalar": options.use_scalar or None,
        "rank_dropout_scale": options.rank_dropout_scale or None,
        "rs_lora": options.rs_lora or None,
        "constraint": options.constraint or None,
        "rescaled": options.rescaled or None,
        "train_norm": options.train_norm or None,
        "conv_dim": options.conv_dim,
        "conv_alpha": options.conv_alpha,
        "rank_dropout": options.rank_dropout or None,
        "module_dropout": options.module_dropout or None,
        "use_timestep_mask": None if options.tlora_min_rank is None else True,
        "min_rank": options.tlora_min_rank,
        "alpha_rank_scale": (
            None if options.tlora_min_rank is None else options.tlora_alpha_rank_scale
        ),
        "loraplus_lr_ratio": options.loraplus_lr_ratio or None,
        "loraplus_unet_lr_ratio": options.loraplus_unet_lr_ratio or None,
        "loraplus_text_encoder_lr_ratio": options.loraplus_text_encoder_lr_ratio or None,
        "factor": options.factor if options.network_type == "lokr" else None,
        "decompose_both": options.decompose_both or None,
        "use_tucker": options.use_tucker or None,
        "block_dims": options.block_dims or None,
        "block_alphas": options.block_alphas or None,
        "block_lr_weight": options.block_lr_weight or None,
    }
    return {name: str(value) for name, value in arguments.items() if value is not None}


def model_hashes(path: Path) -> tuple[str, str]:
    """A checkpoint's SHA-256 and the 8 digits by which the first WebUIs knew it."""
    with path.open("rb") as file:
        file.seek(0x100000)
        legacy = hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
    return file_hash(path), legacy
