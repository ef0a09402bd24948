"""Teaches the text encoder what the world's words mean, from captions alone, before any picture.

It stands for CLIP's own training. A text encoder that starts from noise would learn its words only
through the UNet, whose cross-attention in turn has nothing to ask for until the words differ:
colours, above all, which have to be carried from `red` to the `hair` that they belong to. So
readers that look at the states as cross-attention does - a query for each attribute, one softmax
over the 77 states - learn to say each attribute, and the text encoder learns to let them.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel

from lib_rimo.base_model.latents import tokenize
from lib_rimo.base_model.networks import TEXT_WIDTH, make_text_encoder
from lib_rimo.base_model.parallel import Worker
from lib_rimo.base_model.stage import Stage, cosine_rate
from lib_rimo.demo.world import (
    CHARACTERS,
    VALUES,
    Attributes,
    caption,
    full_caption,
    sample_attributes,
)

BATCH = 16  # captions a process
LEARNING_RATE = 1e-3
SEED = 41


class Readers(nn.Module):
    """One attention over the text encoder's states for each attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(VALUES), TEXT_WIDTH))
        self.keys = nn.Linear(TEXT_WIDTH, TEXT_WIDTH, bias=False)
        self.values = nn.Linear(TEXT_WIDTH, TEXT_WIDTH, bias=False)
        self.answers = nn.ModuleList(nn.Linear(TEXT_WIDTH, len(a)) for a in VALUES.values())

    def forward(self, states: Tensor) -> list[Tensor]:
        """(B, 77, width) -> logits (B, answers) for each attribute."""
        attended = functional.scaled_dot_product_attention(
            self.queries.expand(len(states), -1, -1), self.keys(states), self.values(states)
        )  # (B, attributes, width)
        return [answer(attended[:, i]) for i, answer in enumerate(self.answers)]


def true_answers(truths: Sequence[Attributes]) -> Tensor:
    """(B, attributes) indices into VALUES."""
    return torch.tensor(
        [[words.index(getattr(truth, name)) for name, words in VALUES.items()] for truth in truths]
    )


def reading_loss(logits: Sequence[Tensor], truths: Sequence[Attributes]) -> Tensor:
    """Mean cross-entropy; what a caption leaves unsaid costs the same whatever is learned."""
    answers = true_answers(truths)
    losses = [functional.cross_entropy(each, answers[:, i]) for i, each in enumerate(logits)]
    return torch.stack(losses).mean()


def train_words(worker: Worker, stage: Stage, steps: int) -> None:
    """Train the text encoder and its readers for `steps`, unless that is done.

    With a state `start` (an encoder that a UNet has learned to read) the readers learn first and
    alone; then what says nothing new keeps its states, so that the UNet still understands them.
    """
    if stage.has("final"):
        return
    torch.manual_seed(SEED)
    networks = nn.ModuleDict({"encoder": make_text_encoder(), "readers": Readers()})
    known: CLIPTextModel | None = None
    alone = 0  # steps of the readers alone
    if begun := stage.load("start"):
        networks["encoder"].load_state_dict(begun["encoder"])
        known = copy.deepcopy(networks["encoder"]).requires_grad_(False)
        alone = steps // 3
    optimizer = torch.optim.AdamW(
        networks.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    losses: list[float] = []
    for step in stage.steps(0, steps, visible=worker.leads):
        rng = np.random.default_rng((SEED, step, worker.rank))
        truths = [sample_attributes(rng) for _ in range(BATCH)]
        tokens = tokenize([caption(truth, rng) for truth in truths]).long()
        with torch.set_grad_enabled(step >= alone):
            states = networks["encoder"](tokens).last_hidden_state
        loss = reading_loss(networks["readers"](states), truths)
        losses.append(loss.item())
        if known is not None and step >= alone:
            old = torch.tensor([not says_something_new(truth) for truth in truths])
            if old.any():
                loss = loss + functional.mse_loss(states[old], known(tokens[old]).last_hidden_state)
        worker.descend(optimizer, loss, cosine_rate(LEARNING_RATE, step, steps, warm_up=50))
        if worker.leads and (step + 1) % 20 == 0:
            stage.log(step=step + 1, loss=float(np.mean(losses)))
            losses.clear()
    if worker.leads:
        print("words understood:", understood(networks["encoder"], networks["readers"]))
        print("names understood:", names_understood(networks["encoder"], networks["readers"]))
        stage.save({"encoder": networks["encoder"].state_dict(), "steps": steps}, "final")
    worker.wait()


def says_something_new(truth: Attributes) -> bool:
    """Whether a caption may have words that the first base model never saw."""
    return (
        truth.name is not None
        or truth.tips is not None
        or truth.headphones is not None
        or truth.hair_colour == "silver"
        or truth.eye_colour == "yellow"
    )


@torch.no_grad()
def names_understood(encoder: CLIPTextModel, readers: nn.Module) -> dict[str, float]:
    """Share of the characters whose look is read from `name, 1girl, solo` alone."""
    truths = [Attributes(**c.look, name=c.name) for c in CHARACTERS]
    states = encoder(tokenize([f"{c.name}, 1girl, solo" for c in CHARACTERS]).long())
    logits = readers(states.last_hidden_state)
    right = torch.stack([each.argmax(1) for each in logits], 1) == true_answers(truths)
    shares = dict(zip(VALUES, right.float().mean(0).tolist(), strict=True))
    return {name: shares[name] for name in CHARACTERS[0].look}


@torch.no_grad()
def understood(encoder: CLIPTextModel, readers: nn.Module, count: int = 400) -> dict[str, float]:
    """Share of full captions from which each attribute is read right.

    What they do not say, such as the colour behind no plain background, is right by chance.
    """
    rng = np.random.default_rng(SEED)
    truths = [sample_attributes(rng, flaws=0) for _ in range(count)]
    truths = [dataclasses.replace(truth, framing="full body", outfit="dress") for truth in truths]
    states = encoder(tokenize([full_caption(truth) for truth in truths]).long()).last_hidden_state
    right = torch.stack([logits.argmax(1) for logits in readers(states)], 1) == true_answers(truths)
    return dict(zip(VALUES, right.float().mean(0).tolist(), strict=True))
