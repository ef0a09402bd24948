from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lib_rimo.demo import studio as module
from lib_rimo.demo.prompts import scene
from lib_rimo.demo.recipe import Recipe
from lib_rimo.demo.studio import Shot, Studio, is_trained
from lib_rimo.inference.generation import Generator
from lib_rimo.inference.infotext import parse_infotext
from lib_rimo.lora.files import write_lora
from lib_rimo.sd.checkpoint import load_checkpoint
from lib_rimo.training.augment.augmentation import augment
from tests.sd.narrow import narrow_checkpoint, random_lora

SMALL = {"max_train_steps": 4, "network_dim": 2, "save_state_every_n_steps": 1}


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    tensors, _ = random_lora(narrow_checkpoint("sd1"))
    path = tmp_path / "loras" / "rimochan.safetensors"
    write_lora(path, tensors, {})
    return path


def shots(lora: Path) -> list[Shot]:
    return [
        Shot(scene("sitting", "school"), 1, lora),
        Shot(scene("standing", "school"), 2, lora),
        Shot(scene("sitting", "school", tag=""), 1),
    ]


def test_draws_what_generate_draws(studio: Studio, lora: Path) -> None:
    files = studio.draw(shots(lora))
    generator = Generator(load_checkpoint(studio.model), module.LoraFolder(lora.parent))
    for file, shot in zip(files, shots(lora), strict=True):
        settings = studio.look.settings(shot.prompt, shot.seed)
        (picture,) = generator.draw(settings)
        image = Image.open(file)
        apart = np.asarray(image).astype(int) - np.asarray(picture.image)
        assert np.abs(apart).max() <= 2  # pictures of a batch are rounded otherwise
        read, _ = parse_infotext(image.info["parameters"])
        assert (read.prompt, read.seed, read.steps) == (shot.prompt, shot.seed, 2)


def test_draws_and_judges_nothing_twice(
    studio: Studio, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = studio.see(shots(lora))
    files = studio.draw(shots(lora))
    files[1].unlink()  # as if the run had been killed before it
    drawn: list[Path] = []

    def spy(model, look, batch, advance):
        drawn.extend(file for file, _ in batch)
        return draw_batch(model, look, batch, advance)

    draw_batch = module.draw_batch
    monkeypatch.setattr(module, "draw_batch", spy)
    assert studio.see(shots(lora)) == seen
    assert drawn == [files[1]]
    assert studio.judge.looked == 3


def test_another_lora_is_another_picture(studio: Studio, lora: Path) -> None:
    shot = shots(lora)[0]
    before = studio.picture_file(shot)
    tensors = {name: tensor * 2 for name, tensor in load_file(lora).items()}
    write_lora(lora, tensors, {})
    assert studio.picture_file(shot) != before


def test_notes_survive_a_kill(studio: Studio, lora: Path) -> None:
    seen = studio.see(shots(lora))
    notes = studio.folder / "seen-counting.jsonl"
    notes.write_text(notes.read_text()[:-10])
    assert studio.see(shots(lora)) == seen
    assert studio.see(shots(lora)) == seen
    assert studio.judge.looked == 4


def test_a_tag_that_cannot_be_used_stops_the_run(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="left out"):
        studio.draw([Shot(scene("sitting", "school"), 1, None)])


def test_training_pictures_made_by_other_code_are_made_anew(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    monkeypatch.setattr(module, "AUGMENTING", code)
    made = []

    def note(*arguments: Any, **keywords: Any) -> None:
        made.append(augment(*arguments, **keywords))

    monkeypatch.setattr(module, "augment", note)
    for content, times in (("1", 1), ("1", 1), ("2", 2), ("2", 2)):
        (code / "scenes.py").write_text(content)
        assert studio.training_pictures().is_dir()
        assert len(made) == times


def test_trains_once(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_rimo.sd.embedded.RESOLUTION", (64, 64))
    one, other = Recipe("one", SMALL), Recipe("other", {**SMALL, "network_alpha": 1.0})
    first, second = studio.train([one, other])
    assert first.parent != second.parent
    modified = first.stat().st_mtime_ns
    assert studio.train([one]) == [first]
    assert first.stat().st_mtime_ns == modified


def test_a_stopped_training_goes_on(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_rimo.sd.embedded.RESOLUTION", (64, 64))
    recipe = Recipe("one", SMALL)
    (whole,) = studio.train([recipe])
    expected = load_file(whole)

    class KilledError(Exception):
        pass

    def kill(event: module.Event) -> None:
        if event.get("step") == 2 and event["kind"] == "saved":
            raise KilledError

    options = studio.options(recipe)
    options.output_dir += "-again"
    options.save_every_n_steps = 2
    with pytest.raises(KilledError):
        module.run_job(options, [kill])
    assert not is_trained(options)
    options.save_every_n_steps = 0
    steps: list[int] = []
    again = module.train_one(options, steps.append)
    assert again is not None
    assert is_trained(options)
    assert len(steps) < 4
    for name, tensor in load_file(again).items():
        assert torch.equal(tensor, expected[name]), name
