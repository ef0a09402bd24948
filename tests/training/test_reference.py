"""The trainer against a reference written as plainly as can be: same losses, same LoRA."""

import dataclasses
import random

import pytest
import torch
from torch import nn

from lib_rimo.lora.files import read_lora
from lib_rimo.sd.checkpoint import load_checkpoint
from lib_rimo.training.data.dataset import TrainingSet
from lib_rimo.training.jobs.job import run_job
from lib_rimo.training.optimizers import make_optimizer, make_schedule
from lib_rimo.training.setup import make_network


def reference_losses(options, steps):
    """Train by the book: hooks that add up(down(x)) * alpha / dim, nothing else clever."""
    checkpoint = load_checkpoint(options.pretrained_model_name_or_path)
    data = TrainingSet.from_options(options)
    vae = checkpoint.vae

    def encode(pixels):
        posterior = vae.encode(pixels).latent_dist
        return posterior.mean, posterior.std

    with torch.no_grad():
        data.encode_with(encode)
    torch.manual_seed(options.seed)
    network = make_network(checkpoint, options)
    start = network.tensors()
    network.detach()

    weights = {name: nn.Parameter(tensor.clone()) for name, tensor in start.items()}
    rates = {True: options.unet_lr, False: options.text_encoder_lr}
    hooked = {}
    for module, rename in (
        (checkpoint.unet, lambda name: f"lora_unet_{name}"),
        (checkpoint.text_encoders[0], lambda name: f"lora_te_text_model_{name}"),
    ):
        for name, layer in module.named_modules():
            hooked[rename(name.replace(".", "_"))] = layer

    def change(key):
        down, up = weights[f"{key}.lora_down.weight"], weights[f"{key}.lora_up.weight"]
        scale = options.network_alpha / options.network_dim

        def hook(layer, inputs, output):
            (x,) = inputs
            if down.dim() == 4:
                return output + nn.functional.conv2d(nn.functional.conv2d(x, down), up) * scale
            return output + x @ down.T @ up.T * scale

        return hook

    keys = sorted({name.split(".")[0] for name in weights})
    for key in keys:
        hooked[key].register_forward_hook(change(key))
    groups = [
        {
            "params": [
                weight
                for name, weight in weights.items()
                if name.startswith("lora_unet") == is_unet and not name.endswith("alpha")
            ],
            "lr": rates[is_unet],
        }
        for is_unet in (False, True)
    ]
    optimizer = make_optimizer(options, groups, print)
    schedule = make_schedule(options, optimizer, options.max_train_steps)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas_cumprod = (1 - betas).cumprod(0)
    tokenizer, encoder = checkpoint.tokenizers[0], checkpoint.text_encoders[0]
    losses = []
    for step in range(steps):
        batch = data.batch(step)
        latents = batch.latents * vae.config.scaling_factor
        noises, times = [], []
        for slot in batch.slots:
            seed = random.Random(f"{options.seed} noise {step} {slot}").getrandbits(63)
            generator = torch.Generator().manual_seed(seed)
            noises.append(torch.randn(latents.shape[1:], generator=generator))
            times.append(torch.randint(1000, (), generator=generator))
        noise, time = torch.stack(noises), torch.stack(times)
        alpha = alphas_cumprod[time].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        tokens = tokenizer(
            batch.captions,
            padding="max_length",
            max_length=77,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        text = encoder(tokens).last_hidden_state
        prediction = checkpoint.unet(noisy, time, encoder_hidden_states=text).sample
        loss = nn.functional.mse_loss(prediction, noise)
        loss.backward()
        nn.utils.clip_grad_norm_(
            [weight for group in groups for weight in group["params"]], options.max_grad_norm
        )
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, weights


@pytest.mark.slow
def test_twenty_steps_match_the_reference(options):
    options.max_train_steps = 20
    # Signs (Lion) and Adam's usual eps blow up the float noise of gradients near zero.
    options.optimizer_type, options.optimizer_args = "AdamW", ["eps=1e-4"]
    options.unet_lr = options.text_encoder_lr = 1e-5
    told = []
    path = run_job(options, [told.append])
    losses = [event["loss"] for event in told if event["kind"] == "progress"]
    expected, weights = reference_losses(options, 20)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert len(set(losses)) == 20
    tensors = read_lora(path).tensors
    assert tensors.keys() == weights.keys()
    moved = 0.0
    for name, weight in weights.items():
        torch.testing.assert_close(tensors[name], weight.detach(), rtol=1e-3, atol=2e-4)
        moved = max(moved, tensors[name].abs().max().item() if "lora_up" in name else 0)
    assert moved > 5e-5


def test_gradient_checkpointing_changes_nothing_but_memory(options, tmp_path):
    options.optimizer_type = "AdamW"
    plain = read_lora(run_job(options)).tensors
    thrifty = dataclasses.replace(
        options, gradient_checkpointing=True, output_dir=str(tmp_path / "thrifty")
    )
    checkpointed = read_lora(run_job(thrifty)).tensors
    for name, tensor in plain.items():
        torch.testing.assert_close(checkpointed[name], tensor, rtol=1e-4, atol=1e-5)


def test_accumulated_batches_are_one_larger_batch(options, tmp_path):
    """Two batches of one, accumulated, see other pictures than a batch of two: only the mean."""
    options.optimizer_type = "AdamW"
    options.train_batch_size = 1
    options.gradient_accumulation_steps = 2
    path = run_job(options)
    assert read_lora(path).metadata["ss_gradient_accumulation_steps"] == "2"
    assert read_lora(path).metadata["ss_steps"] == "6"
