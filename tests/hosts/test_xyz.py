import sys
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib_rimo.errors import UserError
from lib_rimo.hosts.a1111 import A1111
from tests.hosts.fake_a1111 import FakeA1111
from tests.hosts.fake_webui import IN07, LAYERS, M00, picture


class AxisOption:
    """The plot script's way to offer an axis."""

    def __init__(self, label, kind, apply, format_value=None, confirm=None, cost=0.0, prepare=None):
        self.label, self.type, self.apply, self.cost = label, kind, apply, cost
        self.format_value, self.confirm, self.prepare = format_value, confirm, prepare


@pytest.fixture
def plot():
    nothing = AxisOption("Nothing", str, lambda p, x, xs: None)
    return SimpleNamespace(AxisOption=AxisOption, axis_options=[nothing])


@pytest.fixture
def fake(tmp_path, monkeypatch, plot):
    files = {"rimochan": dict.fromkeys(LAYERS, 10.0), "other": dict.fromkeys(LAYERS, 1.0)}
    fake = FakeA1111(tmp_path, files)
    fake.scripts_data += [
        SimpleNamespace(path="/webui/scripts/xyz_grid.py", module=plot),
        SimpleNamespace(path="/webui/scripts/loopback.py", module=SimpleNamespace()),
    ]
    fake.put_into(monkeypatch)
    host = A1111()
    host.install()
    fake.run("before_ui")
    fake.host = host
    yield fake
    host.uninstall()


def draw_grid(fake, plot, prompt, axes, **settings):
    """What the host's plot does: all checks, then a copy of the settings for each cell."""
    options = {option.label: option for option in plot.axis_options}
    p = picture(prompt, **settings)
    columns = []
    for label, text in axes:
        option = options[label]
        values = [option.type(value) for value in option.prepare(text)]
        option.confirm(p, values)
        columns.append((option, values))
    cells = [[]]
    for option, values in columns:
        cells = [[*cell, (option, value, values)] for cell in cells for value in values]
    drawn = []
    for cell in cells:
        pc = type(p)(**vars(p))
        for option, value, values in cell:
            option.apply(pc, value, values)
        pc.all_prompts = [", ".join([pc.prompt, *pc.styles])]
        fake.host.process(pc)
        fake.activate(pc, pc.all_prompts)
        labels = [option.format_value(p, option, value) for option, value, _ in cell]
        drawn.append((labels, fake.use(), pc))
    return drawn


def test_axes_are_added_once(fake, plot):
    labels = [option.label for option in plot.axis_options]
    assert labels[0] == "Nothing"
    assert {"LoRA strength", "Block weights", "Block", "Block value", "LoRA file"} < set(labels)
    fake.run("before_ui")
    assert [option.label for option in plot.axis_options] == labels


def test_axes_are_added_where_extra_networks_have_no_aliases(fake, plot):
    """As in ersatzForge."""
    plot.axis_options[1:] = []
    del sys.modules["modules.extra_networks"].extra_network_aliases
    fake.run("before_ui")
    assert "Block weights" in [option.label for option in plot.axis_options]


def test_the_cheaper_axis_changes_more_often(plot, fake):
    cost = {option.label: option.cost for option in plot.axis_options}
    assert cost["LoRA file"] > cost["LoRA strength"] > cost["Block"] > cost["Block value"]


def test_axes_compose(fake, plot):
    grid = draw_grid(
        fake, plot, "a <lora:rimochan:1>", [("Block", "IN07, M00"), ("Block value", "0.5, 0")]
    )
    assert [labels for labels, _, _ in grid] == [
        ["IN07", "0.5"],
        ["IN07", "0"],
        ["M00", "0.5"],
        ["M00", "0"],
    ]
    assert [(cell[IN07], cell[M00]) for _, cell, _ in grid] == [
        (105, 110),
        (100, 110),
        (110, 105),
        (110, 100),
    ]


def test_each_axis_names_the_lora_it_means(fake, plot):
    grid = draw_grid(
        fake,
        plot,
        "<lora:rimochan:1><lora:other:1>",
        [("LoRA strength", "rimochan: 0, 1"), ("LoRA strength", "other: 0, 1")],
    )
    assert [cell[IN07] for _, cell, _ in grid] == [100, 101, 110, 111]


def test_the_second_pass_gets_the_values_too(fake, plot):
    grid = draw_grid(
        fake,
        plot,
        "<lora:rimochan:1>",
        [("LoRA strength", "0.5")],
        all_hr_prompts=["big <lora:rimochan:1:IN07@0.2>"],
    )
    assert grid[0][2].all_hr_prompts == ["big <lora:rimochan:0.5:IN07@0.2>"]


def test_a_file_or_none(fake, plot):
    grid = draw_grid(fake, plot, "<lora:rimochan:1>", [("LoRA file", "None, rimochan, other")])
    assert [cell[IN07] for _, cell, _ in grid] == [100, 110, 101]


@pytest.mark.parametrize(
    ("prompt", "axis", "values"),
    [
        ("no tag", "LoRA strength", "0, 1"),
        ("<lora:rimochan:1><lora:other:1>", "LoRA strength", "0, 1"),
        ("<lora:rimochan:1>", "Block weights", "1,2,3"),
        ("<lora:rimochan:1>", "LoRA file", "nix"),
        ("<lora:rimochan:1>", "Block", "IN99"),
    ],
)
def test_wrong_values_are_refused_before_the_first_picture(fake, plot, prompt, axis, values):
    with pytest.raises(UserError):
        draw_grid(fake, plot, prompt, [(axis, values)])
    assert fake.merges() == {}


def test_an_api_answers_what_was_refused(fake, plot):
    """With the sentence, whichever versions of its libraries the host has."""
    sentence = "The prompt has no LoRA to vary: add <lora:NAME:1>."
    api = FastAPI()

    @api.middleware("http")
    async def pass_on(request, answer):
        return await answer(request)

    @api.get("/plot")
    def draw():
        draw_grid(fake, plot, "no tag", [("LoRA strength", "0, 1")])

    answer = TestClient(api, raise_server_exceptions=False).get("/plot")
    assert (answer.status_code, answer.json()) == (422, {"detail": sentence})
    with pytest.raises(UserError) as refused:
        draw()
    assert str(refused.value) == sentence  # which the page shows


def test_a_tag_may_be_in_a_style(fake, plot):
    axes = [("LoRA strength", "0.5, 1")]
    grid = draw_grid(fake, plot, "plain", axes, styles=["<lora:rimochan:1>"])
    assert [cell[IN07] for _, cell, _ in grid] == [105, 110]
