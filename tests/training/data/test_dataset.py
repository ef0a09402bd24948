"""The training set: what a batch holds depends on the seed and the step alone."""

from __future__ import annotations

import dataclasses
import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.data.buckets import Buckets, cover
from lib_rimo.training.data.captions import CaptionVariation
from lib_rimo.training.data.dataset import TrainingSet, picture_tensor
from lib_rimo.training.data.entries import Entry
from lib_rimo.training.data.folders import Folder
from lib_rimo.training.data.pictures import read_picture
from lib_rimo.training.state import identity


@dataclass
class Options:
    train_data_dir: str
    reg_data_dir: str = ""
    dataset_config: str = ""
    resolution: str = "64,96"
    train_batch_size: int = 2
    seed: int = 1
    caption_extension: str = ""
    shuffle_caption: bool = False
    keep_tokens: int = 0
    caption_dropout_rate: float = 0.0
    caption_tag_dropout_rate: float = 0.0
    caption_dropout_every_n_epochs: int = 0
    keep_tokens_separator: str = ""
    secondary_separator: str = ""
    caption_separator: str = ","
    caption_prefix: str = ""
    caption_suffix: str = ""
    enable_wildcard: bool = False
    trigger_word: str = ""
    flip_aug: bool = False
    enable_bucket: bool = True
    min_bucket_reso: int = 64
    max_bucket_reso: int = 128
    bucket_reso_steps: int = 32
    bucket_no_upscale: bool = False
    masked_loss: bool = False
    masked_training: bool = False
    conditioning_data_dir: str = ""
    mask_expand_pixels: int = 0
    cache_latents_to_disk: bool = False
    prior_loss_weight: float = 1.0
    prior_prediction_rate: float = 0.0
    prior_prediction_prompts: str = ""
    reg_prior_prediction: bool = False


def draw_picture(path: Path, size: tuple[int, int], seed: int = 0, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = random.Random(f"{seed} {path.name}").randbytes(16 * 16 * len(mode))
    Image.frombytes(mode, (16, 16), noise).resize(size).save(path)


def draw_set(folder: Path, sizes: list[tuple[int, int]], caption: str = "1girl, solo") -> None:
    for number, size in enumerate(sizes, start=1):
        draw_picture(folder / f"{number}.png", size)
        if caption:
            (folder / f"{number}.txt").write_text(f"{caption}, picture {number}\n")


def encode(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Stand in for an autoencoder: each cell's mean colour, and a spread that is not 0."""
    mean = torch.nn.functional.avg_pool2d(pictures, 8)
    return torch.cat([mean, mean[:, :1]], 1), torch.full_like(mean[:, :1], 0.1).expand(
        -1, 4, -1, -1
    )


def training_set(options: Options) -> TrainingSet:
    found = TrainingSet.from_options(options)
    found.encode_with(encode)
    return found


MIXED = [(64, 96)] * 5 + [(96, 64)] * 3 + [(80, 80)]


def test_an_epoch_shows_every_picture_its_repeats(tmp_path: Path) -> None:
    draw_set(tmp_path / "3_cat", [(64, 96)] * 4)
    found = training_set(Options(str(tmp_path)))
    steps = found.steps_per_epoch()
    assert steps == 6
    seen = [name for step in range(steps) for name in found.batch(step).pictures]
    assert sorted(seen) == sorted([entry.path for entry in found.entries] * 3)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_together_see_what_one_sees(tmp_path: Path, processes: int) -> None:
    draw_set(tmp_path, MIXED)
    options = Options(str(tmp_path), shuffle_caption=True, flip_aug=True, train_batch_size=2)
    many = training_set(options)
    one = training_set(
        Options(str(tmp_path), shuffle_caption=True, flip_aug=True, train_batch_size=2 * processes)
    )
    for step in range(2 * one.steps_per_epoch()):
        parts = [many.batch(step, index, processes) for index in range(processes)]
        whole = one.batch(step)
        assert torch.equal(torch.cat([part.latents for part in parts]), whole.latents)
        assert [text for part in parts for text in part.captions] == whole.captions
        assert [slot for part in parts for slot in part.slots] == whole.slots


def test_a_step_gives_the_same_whatever_came_before(tmp_path: Path) -> None:
    draw_set(tmp_path, MIXED)
    options = Options(str(tmp_path), shuffle_caption=True, caption_dropout_rate=0.3, flip_aug=True)
    through = training_set(options)
    batches = [through.batch(step) for step in range(3 * through.steps_per_epoch())]
    for step in reversed(range(len(batches))):
        again = training_set(options).batch(step)
        assert torch.equal(again.latents, batches[step].latents)
        assert again.captions == batches[step].captions
    assert not torch.equal(batches[0].latents, batches[through.steps_per_epoch()].latents)


def test_a_batch_has_one_shape_and_nothing_is_stretched(tmp_path: Path) -> None:
    draw_set(tmp_path, MIXED)
    found = training_set(Options(str(tmp_path)))
    for step in range(found.steps_per_epoch()):
        batch = found.batch(step)
        assert batch.latents.shape[0] == 2
        height, width = batch.target_sizes[0].tolist()
        assert batch.latents.shape[2:] == (height // 8, width // 8)
    for entry in found.entries:
        left, top, right, bottom = entry.fit.box
        width, height = entry.fit.bucket
        assert (right - left) / (bottom - top) == pytest.approx(width / height)


def test_metadata_has_the_form_the_webui_reads(tmp_path: Path) -> None:
    draw_set(tmp_path / "10_rimochan", [(64, 96)] * 2, "1girl, Solo")
    metadata = TrainingSet.from_options(Options(str(tmp_path))).summary().metadata
    assert json.loads(metadata["ss_tag_frequency"])["10_rimochan"]["solo"] == 2
    assert json.loads(metadata["ss_dataset_dirs"]) == {
        "10_rimochan": {"n_repeats": 10, "img_count": 2}
    }
    assert json.loads(metadata["ss_bucket_info"])["buckets"] == {
        "0": {"resolution": [64, 96], "count": 20}
    }
    assert metadata["ss_num_train_images"] == "20"


def test_regularisation_pictures_balance_and_weigh(tmp_path: Path) -> None:
    draw_set(tmp_path / "train" / "4_cat", [(64, 96)] * 2)
    draw_set(tmp_path / "reg" / "1_animal", [(64, 96)] * 3, caption="")
    found = training_set(
        Options(
            str(tmp_path / "train"),
            str(tmp_path / "reg"),
            prior_loss_weight=0.5,
            trigger_word="cat",
        )
    )
    summary = found.summary()
    assert (summary.train_images, summary.reg_images) == (8, 8)
    for step in range(found.steps_per_epoch()):
        batch = found.batch(step)
        for caption, weight in zip(batch.captions, batch.loss_weights.tolist(), strict=True):
            assert weight == (0.5 if caption == "animal" else 1.0)


def test_alpha_becomes_a_mask(tmp_path: Path) -> None:
    image = Image.new("RGBA", (64, 96), (200, 10, 10, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 96))
    image.save(tmp_path / "1.png")
    draw_picture(tmp_path / "2.png", (64, 96))
    found = training_set(Options(str(tmp_path), masked_loss=True, trigger_word="cat"))
    batch = found.batch(0)
    assert batch.masks is not None
    masks = dict(zip((path.name for path in batch.pictures), batch.masks, strict=True))
    assert masks["1.png"][0, 0].tolist() == [0.0] * 4 + [1.0] * 4
    assert masks["2.png"].min() == 1
    assert training_set(Options(str(tmp_path), trigger_word="cat")).batch(0).masks is None


def test_pictures_of_the_prior_have_other_captions_and_the_rest_stays_as_it_is(
    tmp_path: Path,
) -> None:
    draw_set(tmp_path / "1_rimochan", [(64, 96)] * 4, "rimochan, 1girl, smile")
    draw_set(tmp_path / "reg" / "1_girl", [(64, 96)], "1girl")
    options = Options(
        str(tmp_path / "1_rimochan"),
        reg_data_dir=str(tmp_path / "reg"),
        trigger_word="rimochan",
        shuffle_caption=True,
        keep_tokens=1,
    )
    plain = training_set(options)
    other = training_set(
        dataclasses.replace(options, prior_prediction_rate=0.5, reg_prior_prediction=True)
    )
    seen: Counter[bool] = Counter()
    for step in range(40):
        before, after = plain.batch(step), other.batch(step)
        assert torch.equal(before.latents, after.latents)
        assert not any(before.is_prior)
        for was, caption, is_prior, path in zip(
            before.captions, after.captions, after.is_prior, after.pictures, strict=True
        ):
            if path.parent.name == "1_girl":
                assert (is_prior, caption) == (True, was)
            else:
                assert caption == (was.removeprefix("rimochan, ") if is_prior else was)
                seen[is_prior] += 1
    assert min(seen[True], seen[False]) > 10


def drawn_on_plain(path: Path) -> None:
    """A subject right of the middle; noise, as no plain background has it."""
    image = Image.new("RGB", (64, 96), "white")
    noise = random.Random(str(path.name)).randbytes(24 * 64 * 3)
    image.paste(Image.frombytes("RGB", (24, 64), noise), (32, 16))
    image.save(path)


def test_masks_are_found_and_mirrored_with_the_picture(tmp_path: Path) -> None:
    """Also with latents from the disk, for which no picture is read again."""
    drawn_on_plain(tmp_path / "1.png")
    options = Options(
        str(tmp_path),
        masked_training=True,
        trigger_word="cat",
        flip_aug=True,
        train_batch_size=1,
        cache_latents_to_disk=True,
    )
    expected = torch.zeros(1, 12, 8)
    expected[:, 2:10, 4:7] = 1
    for _ in range(2):
        found = training_set(options)
        seen = set()
        for step in range(8):
            batch = found.batch(step)
            assert batch.masks is not None
            is_flipped = bool(batch.masks[0, 0, 2:10, 1].min() > 0.9)
            seen.add(is_flipped)
            wanted = expected.flip(-1) if is_flipped else expected
            torch.testing.assert_close(batch.masks[0], wanted, atol=0.1, rtol=0)
        assert seen == {True, False}
    assert training_set(dataclasses.replace(options, masked_training=False)).batch(0).masks is None


@pytest.mark.parametrize(("size", "scale"), [((64, 96), 1), ((128, 192), 2)])
def test_masks_are_widened_by_pixels_of_the_training_size(
    tmp_path: Path, size: tuple[int, int], scale: int
) -> None:
    """In every direction, a pixel to a square of 17; where the picture ends, so do they."""
    draw_picture(tmp_path / "1.png", size)
    mask = Image.new("L", size)
    mask.paste(255, (16 * scale, 0, 40 * scale, 48 * scale))
    mask.paste(255, (48 * scale, 76 * scale, 49 * scale, 77 * scale))
    mask.save(tmp_path / "1-masklabel.png")
    options = Options(str(tmp_path), masked_training=True, trigger_word="cat")

    def cells(pixels: int) -> torch.Tensor:
        (entry,) = training_set(dataclasses.replace(options, mask_expand_pixels=pixels)).entries
        assert entry.mask is not None
        return entry.mask[0]

    narrow, wide, widest = cells(0), cells(8), cells(256)
    torch.testing.assert_close(narrow[:6, 2:5], torch.ones(6, 3))
    assert narrow.sum() == pytest.approx(18, abs=0.05)
    expected = torch.zeros(12, 8)
    expected[:7, 1:6] = 1
    torch.testing.assert_close(wide[:8], expected[:8])
    assert wide[8:].sum() == pytest.approx(17**2 / 64, rel=0.01)  # in steps of 1/255
    assert widest.min() == 1


def test_mask_files_count_before_what_is_found_and_are_part_of_the_run(tmp_path: Path) -> None:
    drawn_on_plain(tmp_path / "1.png")
    draw_picture(tmp_path / "2.png", (64, 96))
    options = Options(str(tmp_path), masked_training=True, trigger_word="cat")
    found = training_set(options)
    assert [str(told) for told in found.messages if "mask" in str(told)] == [
        "No mask for 2.png, so all of it counts: it has a detailed "
        "background, in which Find masks, or `python -m lib_rimo mask`, finds the character."
    ]
    before = identity(TrainingOptions(), found)
    mask = Image.new("L", (64, 96))
    mask.paste(255, (0, 0, 64, 48))
    (tmp_path / "given").mkdir()
    mask.save(tmp_path / "given" / "2.png")
    given = dataclasses.replace(options, conditioning_data_dir=str(tmp_path / "given"))
    _, second = training_set(given).entries
    assert second.mask is not None
    assert second.mask[0, :, 0].tolist() == [1.0] * 6 + [0.0] * 6
    assert identity(TrainingOptions(), training_set(given)) != before
    missing = dataclasses.replace(options, conditioning_data_dir=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="holds the masks"):
        training_set(missing)


def test_latents_on_disk_are_used_again_but_never_for_something_else(tmp_path: Path) -> None:
    draw_set(tmp_path, [(64, 96)] * 2)
    options = Options(str(tmp_path), cache_latents_to_disk=True, flip_aug=True)
    calls = []

    def counting(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(len(pictures))
        return encode(pictures)

    def seen_whole(vae: str) -> TrainingSet:
        found = TrainingSet.from_options(options)
        found.encode_with(counting, vae)
        step = 0
        while not found.is_encoded:
            found.batch(step)
            step += 1
        return found

    first = seen_whole("vae")
    assert len(calls) == 4
    again = seen_whole("vae")
    assert len(calls) == 4
    assert torch.equal(first.batch(0).latents, again.batch(0).latents)
    seen_whole("another vae")
    assert len(calls) == 8
    draw_picture(tmp_path / "1.png", (64, 96), seed=5)
    seen_whole("another vae")
    assert len(calls) == 10


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
@settings(max_examples=30, deadline=None)
def test_every_epoch_is_complete_for_any_set(
    repeats: list[int], batch_size: int, processes: int, seed: int
) -> None:
    entries = [
        Entry(
            Path(f"{number}.png"),
            Folder(Path("x"), times, ""),
            times,
            "",
            "",
            cover((64, 96), (64, 96) if number % 2 else (96, 64)),
            False,
        )
        for number, times in enumerate(repeats)
    ]
    found = TrainingSet(entries, Buckets((64, 96)), CaptionVariation(), batch_size, seed)
    for epoch in range(2):
        batches = found.plan_epoch(epoch, batch_size * processes)
        assert len(batches) == found.steps_per_epoch(processes)
        for batch in batches:
            assert len(batch) == batch_size * processes
            assert len({entries[index].fit.bucket for index in batch}) == 1
        seen = Counter(index for batch in batches for index in batch)
        wanted = Counter(dict(enumerate(repeats)))
        assert seen >= wanted
        # Neither of the two buckets is filled up by a whole batch.
        assert (seen - wanted).total() <= 2 * (batch_size * processes - 1)


def test_what_would_train_badly_is_said(tmp_path: Path) -> None:
    draw_set(tmp_path / "5_cat", [(64, 96)] * 2, caption="1girl")
    draw_picture(tmp_path / "5_cat" / "small.png", (66, 70))
    draw_picture(tmp_path / "5_cat" / "long.png", (64, 400))
    draw_picture(tmp_path / "beside.png", (64, 96))
    draw_picture(tmp_path / "dogs" / "1.png", (64, 96))
    (tmp_path / "5_cat" / "broken.png").write_bytes(b"no picture")
    copy = (tmp_path / "5_cat" / "1.png").read_bytes()
    (tmp_path / "5_cat" / "twin.png").write_bytes(copy)
    options = Options(str(tmp_path), resolution="128,192", trigger_word="rimochan")
    said = "\n".join(map(str, TrainingSet.from_options(options).summary().warnings()))
    assert "Left out: broken.png cannot be read" in said
    assert "Not used: pictures beside the numbered folders" in said
    assert "rename the folder to 1_dogs" in said
    assert "rimochan was put in front of: 1.png, 2.png." in said
    assert "Enlarged more than 1.5 times, so blurred: 1.png, 2.png, small.png and 1 more." in said
    assert "Cropped by more than 20%: long.png." in said
    assert "The same picture several times: 1.png, twin.png." in said


def test_a_picture_without_any_caption_is_named(tmp_path: Path) -> None:
    draw_set(tmp_path, [(64, 96)] * 2, caption="")
    found = TrainingSet.from_options(Options(str(tmp_path)))
    assert "Without a caption: 1.png, 2.png." in found.messages[0].text()
    assert [entry.caption for entry in found.entries] == ["", ""]
    named = TrainingSet.from_options(Options(str(tmp_path), trigger_word="cat"))
    assert [entry.caption for entry in named.entries] == ["cat", "cat"]
    assert named.messages == []


def test_the_numbered_folder_itself_can_be_given(tmp_path: Path) -> None:
    draw_set(tmp_path / "7_cat", [(64, 96)] * 2, caption="")
    (entry, _) = TrainingSet.from_options(Options(str(tmp_path / "7_cat"))).entries
    assert (entry.repeats, entry.caption) == (7, "cat")


def test_masked_loss_without_any_alpha_is_said(tmp_path: Path) -> None:
    draw_set(tmp_path, [(64, 96)])
    found = training_set(Options(str(tmp_path), masked_loss=True))
    assert found.batch(0).masks is None
    assert [str(told) for told in found.messages] == [
        "masked_loss does nothing: no picture has transparent parts or a mask file."
    ]


def test_a_picture_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    draw_set(tmp_path, [(64, 96)])
    found = training_set(Options(str(tmp_path)))
    draw_picture(tmp_path / "1.png", (64, 96), seed=9)
    with pytest.raises(UserError, match=r"1\.png changed"):
        found.batch(0)
    (tmp_path / "1.png").unlink()
    with pytest.raises(UserError, match=r"1\.png cannot be read"):
        found.batch(0)


def test_flips_are_encoded_once_and_seen_about_half_the_time(tmp_path: Path) -> None:
    draw_set(tmp_path, [(64, 96)] * 4)
    found = TrainingSet.from_options(Options(str(tmp_path), flip_aug=True))
    encoded = []

    def counting(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        encoded.append(pictures)
        mean, std = encode(pictures)
        return mean, torch.zeros_like(std)

    found.encode_with(counting)
    first = found.batch(0)
    assert len(encoded) == len(first.pictures)
    assert not found.is_encoded
    for step in range(1, 100):
        found.batch(step)
    assert len(encoded) == 8
    assert found.is_encoded
    plain = torch.cat(
        [encode(picture_tensor(read_picture(e.path), e.fit, False)[None])[0] for e in found.entries]
    )
    hits = [
        any(torch.equal(latent, one) for one in plain)
        for step in range(100)
        for latent in found.batch(step).latents
    ]
    assert 0.35 < sum(hits) / len(hits) < 0.65


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_pictures_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=name):
        TrainingSet.from_options(Options(str(tmp_path / name)))
