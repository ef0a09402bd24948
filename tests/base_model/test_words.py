"""The text encoder learns the world's words from captions."""

import numpy as np
import torch
from transformers import CLIPTextModel

from lib_rimo.base_model.latents import tokenize
from lib_rimo.base_model.networks import make_text_encoder
from lib_rimo.base_model.parallel import Worker
from lib_rimo.base_model.stage import Stage
from lib_rimo.base_model.words import (
    Readers,
    reading_loss,
    says_something_new,
    train_words,
    true_answers,
)
from lib_rimo.demo.world import VALUES, Attributes, full_caption, sample_attributes


def test_every_attribute_has_an_answer():
    rng = np.random.default_rng(0)
    truths = [sample_attributes(rng, flaws=0.5) for _ in range(50)]
    answers = true_answers(truths)
    assert answers.shape == (50, len(VALUES))
    for truth, row in zip(truths, answers.tolist(), strict=True):
        for (name, words), index in zip(VALUES.items(), row, strict=True):
            assert words[index] == getattr(truth, name)


def test_words_are_learned():
    torch.manual_seed(0)
    config = make_text_encoder().config
    config.num_hidden_layers = 1  # learns sooner than twelve
    encoder, readers = CLIPTextModel(config), Readers()
    truths = [Attributes(hair_colour="red"), Attributes(hair_colour="blue")]
    tokens = tokenize([f"{truth.hair_colour} hair" for truth in truths]).long()
    optimizer = torch.optim.Adam([*encoder.parameters(), *readers.parameters()], lr=3e-3)
    for _ in range(35):
        optimizer.zero_grad()
        loss = reading_loss(readers(encoder(tokens).last_hidden_state), truths)
        torch.autograd.backward(loss)
        optimizer.step()
    logits = readers(encoder(tokens).last_hidden_state)[list(VALUES).index("hair_colour")]
    colours = tuple(VALUES["hair_colour"])
    assert [colours[i] for i in logits.argmax(1).tolist()] == ["red", "blue"]


def test_the_stage_is_done_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lib_rimo.base_model.words.BATCH", 2)
    stage = Stage(tmp_path, "words")
    train_words(Worker(), stage, 1)
    first = stage.load("final")
    train_words(Worker(), stage, 1)
    assert capsys.readouterr().out.count("words understood") == 1
    assert first is not None
    make_text_encoder().load_state_dict(first["encoder"])


def test_goes_on_from_an_encoder(tmp_path, monkeypatch):
    """Readers learn first and alone; then the encoder moves, from where it stood."""
    monkeypatch.setattr("lib_rimo.base_model.words.BATCH", 2)
    config = make_text_encoder().config
    config.num_hidden_layers = 1
    monkeypatch.setattr(
        "lib_rimo.base_model.words.make_text_encoder", lambda: CLIPTextModel(config)
    )
    before = CLIPTextModel(config)
    stage = Stage(tmp_path, "words")
    stage.save({"encoder": before.state_dict()}, "start")
    train_words(Worker(), stage, 3)
    after = CLIPTextModel(config)
    after.load_state_dict(stage.load("final")["encoder"])
    tokens = tokenize([full_caption(Attributes())]).long()
    old, new = (each.eval()(tokens).last_hidden_state for each in (before, after))
    assert 0 < (old - new).abs().mean() < 0.1


def test_new_words_are_those_that_the_first_model_lacks():
    assert not says_something_new(Attributes())
    for change in (
        {"name": "koha"},
        {"tips": "red"},
        {"headphones": "red"},
        {"hair_colour": "silver"},
    ):
        assert says_something_new(Attributes(**change))
