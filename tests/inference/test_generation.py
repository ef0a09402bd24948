from dataclasses import replace

import numpy as np
import pytest

from lib_rimo.errors import UserError
from lib_rimo.files import file_hash
from lib_rimo.inference.apply import LoraFolder
from lib_rimo.inference.generation import Generator
from lib_rimo.inference.infotext import Settings, parse_infotext
from lib_rimo.lora.files import read_lora, write_lora
from tests.sd.narrow import narrow_checkpoint, random_lora, write_narrow_checkpoint

SETTINGS = Settings(prompt="a cat", steps=3, width=64, height=64)
VECTOR = "1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("loras")
    tensors, _ = random_lora(narrow_checkpoint("sd1"))
    write_lora(path / "x.safetensors", {k: t * 3 for k, t in tensors.items()}, {})
    return LoraFolder(path)


@pytest.fixture(scope="module")
def checkpoint():
    return narrow_checkpoint("sd1")


@pytest.fixture
def said():
    return []


@pytest.fixture
def generator(checkpoint, folder, said):
    generator = Generator(checkpoint, folder, tell=said.append)
    yield generator
    generator.merger.clear()


def draw(generator, prompt="a cat", **changes):
    (picture,) = generator.draw(replace(SETTINGS, prompt=prompt, **changes))
    return np.asarray(picture.image).astype(int)


@pytest.mark.parametrize("sampler", ["DPM++ 2M Karras", "Euler a", "Euler", "DDIM"])
def test_the_same_settings_draw_the_same_picture(generator, sampler):
    first = draw(generator, sampler=sampler)
    assert first.shape == (64, 64, 3)
    assert (first == draw(generator, sampler=sampler)).all()
    assert (first != draw(generator, sampler=sampler, seed=2)).any()


@pytest.mark.parametrize("quantize", [False, True])
def test_a_pictures_text_draws_it_again(generator, said, quantize):
    settings = replace(SETTINGS, prompt=f"a cat <lora:x:1:{VECTOR}>", sampler="DPM++ 2M Karras")
    settings = replace(settings, quantize_timesteps=quantize)
    (picture,) = generator.draw(settings)
    read, others = parse_infotext(picture.infotext)
    assert others["Lora hashes"].startswith("x: ")
    (again,) = generator.draw(read)
    assert again.image == picture.image
    assert said == []


def test_quantized_timesteps_change_what_lies_between_them(generator):
    def differs(**settings):
        quantized = draw(generator, **settings, quantize_timesteps=True)
        return (quantized != draw(generator, **settings)).any()

    assert differs(sampler="DPM++ 2M", schedule="Karras")
    assert not differs(sampler="Euler", steps=4)  # 999, 666, 333, 0
    assert not differs(sampler="DDIM")


def test_every_picture_of_a_batch_is_that_of_its_seed(generator):
    pictures = list(generator.draw(replace(SETTINGS, sampler="Euler a"), count=3, batch_size=2))
    assert [picture.settings.seed for picture in pictures] == [1, 2, 3]
    for picture in pictures:
        alone = draw(generator, sampler="Euler a", seed=picture.settings.seed)
        assert abs(np.asarray(picture.image).astype(int) - alone).max() <= 1


def test_the_loras_of_a_prompt_act_and_leave_again(generator):
    plain = draw(generator)
    assert (draw(generator, "a cat <lora:x:1>") != plain).any()
    assert (draw(generator, "a cat <lora:x:0>") == plain).all()
    assert (draw(generator, "a cat <lora:x:1:NONE>") == plain).all()
    assert (draw(generator) == plain).all()


def test_block_weights_change_the_picture(generator):
    whole = draw(generator, "a cat <lora:x:1>")
    assert (draw(generator, f"a cat <lora:x:1:{VECTOR}>") != whole).any()
    assert (draw(generator, "a cat <lora:x:1:ALL>") == whole).all()


def test_steps_of_a_lora_act_during_the_drawing(generator):
    plain, whole = draw(generator), draw(generator, "a cat <lora:x:0:1>")
    late = draw(generator, "a cat <lora:x:0:1:start=2>")
    assert (late != plain).any()
    assert (late != whole).any()
    assert (draw(generator, "a cat <lora:x:0:1:start=3>") == plain).all()


def test_a_wrong_tag_costs_that_tag_only_and_is_said_once(generator, said):
    right = draw(generator, "a cat <lora:x:1>")
    wrong = "a cat <lora:x:1> <lora:missing:1> <lora:x:1:1,2>"
    assert (draw(generator, wrong) == right).all()
    draw(generator, wrong)
    assert len(said) == 2
    assert said[0].text().startswith("<lora:x:1:1,2> was left out")
    assert said[1].text().startswith('<lora:missing> was left out: There is no LoRA "missing"')


def test_without_a_folder_tags_are_left_out(checkpoint, said):
    draw(Generator(checkpoint, tell=said.append), "a cat <lora:x:1>")
    assert "--lora-dir" in said[0].text()


def test_a_retrained_file_is_read_again(generator, folder):
    path = folder.path / "y.safetensors"
    file = read_lora(folder.path / "x.safetensors")
    write_lora(path, file.tensors, {})
    before = draw(generator, "a cat <lora:y:1>")
    write_lora(path, {key: tensor * 2 for key, tensor in file.tensors.items()}, {"ss_steps": "2"})
    assert (draw(generator, "a cat <lora:y:1>") != before).any()


def test_prompt_editing_acts_at_its_step(generator):
    assert (draw(generator, "[a cat:a dog:3]", steps=3) == draw(generator, "a cat", steps=3)).all()
    assert (draw(generator, "[a cat:a dog:1]", steps=3) != draw(generator, "a cat", steps=3)).any()


def test_on_step_counts_every_step(generator):
    for sampler in ("Euler", "DDIM"):
        steps = []
        settings = replace(SETTINGS, sampler=sampler, steps=5)
        list(generator.draw(settings, count=2, on_step=steps.append))
        assert len(steps) == 2 * generator.steps(settings)


def test_random_seeds_are_written_down(generator):
    (picture,) = generator.draw(replace(SETTINGS, seed=-1))
    assert picture.settings.seed >= 0


def test_the_model_is_named_by_its_hash(tmp_path):
    path = tmp_path / "narrow.safetensors"
    checkpoint = write_narrow_checkpoint(path, "sd1")
    (picture,) = Generator(checkpoint).draw(SETTINGS)
    others = parse_infotext(picture.infotext)[1]
    assert others["Model hash"] == file_hash(path)[:10]
    assert others["Model"] == "narrow"


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_the_other_families_draw_too(family):
    generator = Generator(narrow_checkpoint(family))
    with_nothing = draw(generator)
    assert with_nothing.std() > 0
    assert (draw(generator, negative_prompt="text") != with_nothing).any()


@pytest.mark.parametrize(
    "changes", [{"steps": 0}, {"clip_skip": 0}, {"seed": -2}, {"sampler": "x"}]
)
def test_settings_that_cannot_be_drawn_are_refused(generator, changes):
    with pytest.raises(UserError):
        draw(generator, **changes)
