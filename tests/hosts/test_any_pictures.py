"""Pictures with any tags, one after another: at every step each host holds what the tags say."""

import random

import pytest

from lib_rimo.hosts.activation import ReadTag, read_tag
from lib_rimo.weights.block_weights import BlockWeights
from lib_rimo.weights.presets import DEFAULT_PRESETS
from lib_rimo.weights.ramp import value_at
from lib_rimo.weights.strength import factor_at
from tests.hosts.fake_a1111 import FakeA1111
from tests.hosts.fake_forge import FakeErsatzForge, FakeForge
from tests.hosts.fake_forks import FakeClassic, FakeFork, FakeReForge
from tests.hosts.fake_webui import BASE, FILES, LAYERS, SEED_TAG, tags_of

HOSTS = [FakeA1111, FakeForge, FakeErsatzForge, FakeFork, FakeReForge, FakeClassic]
STRENGTHS = ["0", "0.5", "1", "-0.5", "0@0,1@1", "1@0,0@1", "0.5@0,1@0.5,0@1"]
BLOCKS = ["IN07@0", "BASE@0", "MIDD", "NONE", "IN08@0.3,OUT03@-1", SEED_TAG.split(":")[-1][:-1]]
STEPS = ["start=3", "stop=3", "step=2-5"]


def any_tag(draw: random.Random) -> str:
    parts = ["lora", draw.choice([*FILES]), draw.choice(STRENGTHS)]
    for choices, share in ((STRENGTHS, 0.2), (BLOCKS, 0.7), (STEPS, 0.6)):
        parts += [draw.choice(choices)] if draw.random() < share else []
    return f"<{':'.join(parts)}>"


def held(tags: list[ReadTag], steps_done: int, steps: int) -> dict[str, float]:
    """What the layers have to hold: the sum of all tags."""
    weights = dict.fromkeys(LAYERS, 100.0)
    for read in tags:
        now, blocks = read.at(steps_done, steps), read.tag.blocks or BlockWeights()
        acts = now.blocks is None or now.blocks.active_at(steps_done)
        strengths = {True: value_at(read.tag.te, 0, 1)}  # prompts are encoded before the first step
        strengths[False] = value_at(now.unet, steps_done, steps) if acts else 0.0
        for layer, delta in FILES[read.tag.name].items():
            block = factor_at(blocks if layer == BASE else now.blocks or blocks, layer, "sd1")
            weights[layer] += delta * strengths[layer == BASE] * block
    return weights


def is_the_host_s_affair(tags: list[ReadTag]) -> bool:
    """Whether one LoRA has several tags, all of them plain: hosts differ in that."""
    plain = [read.tag.name for read in tags if read.tag.blocks is None]
    others = {read.tag.name for read in tags if read.tag.blocks is not None}
    return any(plain.count(name) > 1 and name not in others for name in plain)


@pytest.fixture(params=HOSTS)
def fake(request, tmp_path, monkeypatch):
    fake = request.param(tmp_path, FILES)
    fake.put_into(monkeypatch)
    return fake


@pytest.mark.parametrize("seed", range(3))
def test_at_every_step_each_layer_holds_what_the_tags_say(seed, fake, host):
    draw, drawn = random.Random(seed), []
    for _ in range(6):
        prompt = "".join(any_tag(draw) * draw.choice([1, 1, 2]) for _ in range(draw.randrange(4)))
        steps = draw.choice([4, 8])
        drawn.append((prompt, steps))
        fake.draw(prompt)
        assert not fake.errors, drawn
        tags = [read_tag(params.items, DEFAULT_PRESETS, 1) for params in tags_of([prompt])]
        for steps_done in range(0 if is_the_host_s_affair(tags) else steps):
            fake.step(steps_done, steps)
            weights = fake.use() if isinstance(fake, FakeA1111) else fake.weights()
            assert weights == pytest.approx(held(tags, steps_done, steps), abs=1e-4), drawn
