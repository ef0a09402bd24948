import os
import sys
from types import SimpleNamespace

import pytest

from lib_rimo.hosts.a1111 import A1111
from lib_rimo.hosts.activation import HIRES_WEIGHTS_KEY, NOTES_KEY, WEIGHTS_KEY
from tests.hosts.fake_a1111 import FakeA1111, NetworkModule
from tests.hosts.fake_webui import (
    BASE,
    FILES,
    IN01,
    IN07,
    LAYERS,
    OUT03,
    SEED_TAG,
    Params,
    everywhere,
    picture,
    weights,
)

ONES, ZEROS = ",".join("1" * 17), ",".join("0" * 17)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    fake = FakeA1111(tmp_path, FILES)
    fake.put_into(monkeypatch)
    return fake


def test_the_seed_s_tag_draws_nothing_without_rimo(fake):
    assert fake.draw(SEED_TAG)[0] == weights()
    assert isinstance(fake.errors[0], ValueError)


def test_the_seed_s_tag(fake, host):
    drawn, p = fake.draw(SEED_TAG)
    assert drawn == weights(BASE=10, IN01=10, IN07=8, IN08=2, M00=10, OUT03=10)
    assert (p.comments, p.extra_generation_params) == ([], {})


def test_without_block_tags_the_host_gets_what_the_prompt_says(fake, host):
    seen = []
    fake.networks.load_networks = lambda *arguments: seen.append(arguments)
    p = picture("")
    tags = fake.activate(p, ["a <lora:rimochan:0.5:0.25> <lyco:other:te=1:unet=2>"])
    assert seen == [(["rimochan", "other"], [0.5, 1.0], [0.25, 2.0], [None, None])]
    assert {type(number) for number in (*seen[0][1], *seen[0][2])} == {float}
    assert [tag.items for tag in tags] == [
        ["rimochan", "0.5", "0.25"],
        ["other", "te=1", "unet=2"],
    ]


def test_all_ones_are_the_plain_tag(fake, host):
    plain, _ = fake.draw("<lora:rimochan:0.7>")
    fake.merges()
    assert fake.draw(f"<lora:rimochan:0.7:{ONES}>")[0] == plain
    assert fake.merges() == {}


def test_zeros_are_no_lora(fake, host):
    assert fake.draw(f"<lora:rimochan:1:{ZEROS}>")[0] == weights()
    assert fake.draw("<lora:rimochan:1:NONE>")[0] == weights()


def test_text_encoder_and_unet_have_strengths_of_their_own(fake, host):
    drawn, _ = fake.draw("<lora:rimochan:0.5:2:BASE@0.5,IN07@0.1>")
    assert drawn == weights(BASE=2.5, IN01=20, IN07=2, IN08=20, M00=20, OUT03=20)


def test_several_loras_at_once(fake, host):
    drawn, _ = fake.draw("<lora:other:1><lora:rimochan:1:IN07@0.5><lora:nix:1>")
    assert drawn == weights(BASE=11, IN01=10, IN07=6, IN08=10, M00=10, OUT03=10)


def test_each_tag_of_one_lora_acts_for_itself(fake, host):
    drawn, _ = fake.draw("<lora:rimochan:1:IN07@0><lora:rimochan:0.5>")
    assert drawn == dict.fromkeys(LAYERS, 115.0) | {IN07: 105.0}
    assert fake.draw("<lora:rimochan:1>")[0] == everywhere()


def test_a_slip_of_the_pen_is_said(fake, host):
    drawn, p = fake.draw("<lora:rimochan:1:strat=5>")
    assert drawn == everywhere()
    assert p.comments == ['rimochan: the option "strat=5" was ignored; did you mean "start="?']


def test_only_layers_whose_strength_changed_are_merged_again(fake, host):
    fake.draw("<lora:rimochan:1:IN07@0.8>")
    fake.merges()
    assert fake.draw("<lora:rimochan:1:IN07@0.3>")[0][IN07] == 103
    assert fake.merges() == {IN07: 1}
    assert fake.draw("<lora:rimochan:1>")[0] == everywhere()
    assert fake.merges() == {IN07: 1}
    assert fake.draw("<lora:rimochan:1:OUT03@0>")[0][OUT03] == 100
    assert fake.merges() == {OUT03: 1}


def test_without_blocks_merging_is_the_host_s_affair(fake, host):
    fake.draw("<lora:rimochan:1:0.5>")
    fake.merges()
    fake.draw("<lora:rimochan:0.7:0.5>")
    assert fake.merges() == dict.fromkeys(LAYERS, 1)


def test_layers_that_the_lora_does_not_have_are_never_merged_again(fake, host):
    fake.draw("<lora:other:1:IN01@0.5>")
    fake.merges()
    fake.draw("<lora:other:1:IN01@0.2,IN08@3>")
    assert fake.merges() == {}


def test_an_attention_with_a_joint_projection(fake, host):
    key = "0_model_transformer_resblocks_0_attn"
    fake.layers[key] = type(fake.layers[BASE])()
    fake.deltas["rimochan"][f"{key}_q_proj"] = 1.0
    fake.draw("<lora:rimochan:1:IN01@0>")
    fake.merges()
    fake.draw("<lora:rimochan:1:BASE@0>")
    assert set(fake.merges()) == {BASE, IN01, key}


def test_a_wrong_tag_costs_itself_only(fake, host):
    good, _ = fake.draw("<lora:rimochan:1:IN07@0.5>")
    drawn, p = fake.draw("<lora:rimochan:1:IN07@0.5><lora:other:1:1,2>")
    assert drawn == good
    (note,) = p.comments
    assert note.startswith("<lora:other:1:1,2> was left out: ")
    assert p.extra_generation_params[NOTES_KEY] == note


def test_a_missing_file_is_said(fake, host):
    drawn, p = fake.draw("<lora:nix:1><lora:rimochan:1>")
    assert drawn == everywhere()
    assert p.comments == [p.extra_generation_params[NOTES_KEY]]
    assert p.comments[0].startswith("<lora:nix:1> was left out")
    assert fake.said == []  # by the host once more


def test_a_vector_that_does_not_fit_is_applied_and_said(fake, host):
    drawn, p = fake.draw(f"<lora:rimochan:1:{','.join('1' * 12)}>")
    assert drawn == weights(BASE=10, IN07=10, IN08=10, M00=10, OUT03=10)
    assert "IN01 got no value" in p.extra_generation_params[NOTES_KEY]


def test_notes_of_an_earlier_batch_go(fake, host):
    _, p = fake.draw("<lora:nix:1:MIDD><lora:rimochan:1:MIDD>")
    assert set(p.extra_generation_params) == {NOTES_KEY, WEIGHTS_KEY}
    fake.activate(p, ["<lora:rimochan:1:IN07@0.5>"])
    assert p.extra_generation_params == {}


def test_the_tags_of_a_batch_are_its_first_prompt_s(fake, host):
    p = picture("", seeds=[5, 6])
    fake.activate(p, ["<lora:rimochan:1:IN07@0.5>", "<lora:rimochan:1:IN07@0.1>"])
    assert fake.use()[IN07] == 105


def random_values(p):
    return p.extra_generation_params[WEIGHTS_KEY]


def test_random_values_come_from_the_picture_s_seed(fake, host):
    tag = "<lora:rimochan:1:R,R,U,R,R,R,R,R,R,R,R,R,R,R,R,R,R>"
    first, p = fake.draw(tag, seed=7)
    again, _ = fake.draw(tag, seed=7)
    other, q = fake.draw(tag, seed=8)
    assert first == again != other
    assert random_values(p) != random_values(q)


def test_a_pasted_infotext_restores_the_picture(fake, host):
    prompt = "a <lora:rimochan:1:R,R,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1> <lora:other:1>, <x:y>"
    drawn, p = fake.draw(prompt, seed=7)
    parameters = {"Prompt": prompt, "Hires prompt": "", **p.extra_generation_params}
    fake.run("infotext_pasted", "", parameters)
    assert parameters["Prompt"] != prompt
    assert parameters["Prompt"].endswith(" <lora:other:1>, <x:y>")
    assert fake.draw(parameters["Prompt"], seed=1000)[0] == drawn


def test_a_preset_s_numbers_are_recorded(fake, host):
    (fake.folder / "scripts").mkdir()
    (fake.folder / "scripts" / "lbwpresets.txt").write_text("MINE:0,0,0,0,0,0,0,0.5" + ",0" * 9)
    drawn, p = fake.draw("<lora:rimochan:1:lbw=MINE>")
    assert drawn == weights(M00=5)
    assert random_values(p) == "lora:rimochan:1:0,0,0,0,0,0,0,0.5,0,0,0,0,0,0,0,0,0"


def test_saved_presets_can_be_used(fake, host):
    host.save_preset("SOFT", "IN07@0.5")
    assert fake.draw("<lora:rimochan:1:SOFT>")[0][IN07] == 105


def test_the_second_pass_has_its_own_tags(fake, host):
    _, p = fake.draw("<lora:rimochan:1:IN07@0.5>")
    p.is_hr_pass = True
    fake.activate(p, ["<lora:rimochan:1:MIDD>"])
    assert fake.use() == weights(BASE=10, IN07=10, IN08=10, M00=10, OUT03=10)
    assert list(p.extra_generation_params) == [HIRES_WEIGHTS_KEY]
    parameters = {
        "Prompt": "<lora:rimochan:1:IN07@0.5>",
        "Hires prompt": "<lora:rimochan:1:MIDD>",
        **p.extra_generation_params,
    }
    fake.run("infotext_pasted", "", parameters)
    assert parameters["Prompt"] == "<lora:rimochan:1:IN07@0.5>"
    assert parameters["Hires prompt"].startswith("<lora:rimochan:1:1,0,0,0,1")


def test_the_same_tags_activated_again_mean_the_same(fake, host):
    """The WebUI activates once more between the passes, with the very same tags."""
    tags = [Params(["rimochan", "1", "R,1" + ",1" * 15])]
    drawn = []
    for seed in (1, 2):
        fake.activate_tags(picture("", seed), tags)
        drawn.append(fake.use())
    assert drawn[0] == drawn[1] != everywhere()


def test_the_kept_encodings_of_a_prompt_tell_blocks_apart(fake, host):
    """The host keeps a prompt's encodings as long as its tags are equal."""
    one, same, other, unet, element = (
        fake.activate(picture(""), [f"<lora:rimochan:1:{blocks}>"])
        for blocks in (
            "BASE@0.5",
            "BASE@0.50",
            "BASE@0.6",
            "BASE@0.5,IN07@0:stop=3",  # what concerns the UNet alone
            "BASE@0.5:lbwe=BASE/mlp@0",
        )
    )
    drawn = [
        fake.activate(picture("", seed), ["<lora:rimochan:1:R" + ",1" * 16 + ">"])
        for seed in (1, 2)
    ]
    assert one == same == unet
    assert other != one != element
    assert drawn[0] != drawn[1]


def test_start_and_stop(fake, host):
    fake.draw("<lora:rimochan:1:IN07@0.5:step=2-4>")
    at = []
    for step in range(6):
        fake.step(step)
        at.append(fake.use())
    off, on = weights(BASE=10), {**everywhere(), IN07: 105.0}
    assert at == [off, off, on, on, off, off]
    assert fake.draw("<lora:rimochan:1>")[0] == everywhere()


def test_a_step_that_changes_nothing_merges_nothing(fake, host):
    fake.draw("<lora:other:1:stop=3>")
    fake.merges()
    fake.step(1)
    fake.use()
    assert fake.merges() == {}
    fake.step(3)
    fake.use()
    assert fake.merges() == {IN07: 1}


def test_a_replaced_file_is_read_again(fake, host):
    fake.draw("<lora:rimochan:1>")
    fake.deltas["rimochan"][IN01] = 50.0
    path = fake.networks.available_networks["rimochan"].filename
    os.utime(path, (1, 1))  # older than before: an earlier version put back
    drawn, p = fake.draw("<lora:rimochan:1>", cached_c=["tags", "encodings"])
    assert drawn[IN01] == 150
    assert p.cached_c == [None, None]
    assert fake.reads == ["rimochan", "rimochan"]


def test_uninstalling_puts_the_host_s_functions_back(fake):
    network = sys.modules["extra_networks_lora"].ExtraNetworkLora
    own = (NetworkModule.multiplier, network.activate)
    for _ in range(2):  # "Reload UI"
        host = A1111()
        host.install()
        assert fake.draw(SEED_TAG)[0][IN07] == 108
        fake.run("script_unloaded")
        fake.callbacks.clear()
    assert (NetworkModule.multiplier, network.activate) == own
    assert fake.draw("<lora:rimochan:1>")[0] == everywhere()


def test_another_s_function_on_top_of_ours_stays(fake):
    before = NetworkModule.multiplier
    host = A1111()
    host.install()
    ours = NetworkModule.multiplier
    NetworkModule.multiplier = lambda module: ours(module) * 2
    try:
        host.uninstall()
        assert fake.draw("<lora:rimochan:1>")[0][IN07] == 120
    finally:
        NetworkModule.multiplier = before


def lbw_scripts(active, copied=False):
    """The extension's script, or the copy in ersatzForge, whose box comes first."""
    file = "/x/own.py" if copied else "/x/scripts/lora_block_weight.py"
    kept = {name: [] for name in ("startsf", "stopsf", "lf", "ef")} if copied else {}
    script = SimpleNamespace(filename=file, args_from=1, args_to=3, **kept)
    other = SimpleNamespace(filename="/x/scripts/other.py", args_from=0, args_to=1)
    return {
        "scripts": SimpleNamespace(alwayson_scripts=[other, script]),
        "script_args": ["?", *((active, [["A", "1"]]) if copied else ("presets", active))],
    }


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("active", [True, False])
def test_lbw_finds_nothing_to_do_in_tags_that_rimo_applies(fake, host, active, copied):
    p = picture("", **lbw_scripts(active, copied))
    (tag,) = fake.activate(p, [f"<lora:rimochan:1:lbw={ZEROS}:start=3>"])
    assert not [item for item in tag.items if item.startswith(("lbw", "w=", "start", "0,"))]
    assert fake.use() == weights()


@pytest.mark.parametrize("copied", [False, True])
def test_a_picture_is_left_to_lbw_when_only_that_can_read_a_tag(fake, host, copied):
    p = picture("", **lbw_scripts(True, copied))
    tags = fake.activate(
        p, ["<lora:rimochan:1:lbw=XYZ><lora:other:0.5:IN07@0:stop=3><lora:nix:1:1,2>"]
    )
    sparse = "1,1,1,1,1,1,1,1,0" + ",1" * 17
    assert [tag.items for tag in tags[:2]] == [
        ["rimochan", "1", "lbw=XYZ"],
        ["other", "0.5", "0.5", f"lbw={sparse}", "stop=3"],
    ]
    assert fake.use() == {**everywhere(), BASE: 110.5, IN07: 110.5}
    assert len(p.comments) == 1
    assert "<lora:nix:1:1,2>" in p.comments[0]


def test_what_lbw_alone_could_read_is_left_out_when_it_is_off(fake, host):
    p = picture("", **lbw_scripts(active=False))
    fake.activate(p, ["<lora:rimochan:1:lbw=XYZ>"])
    assert fake.use() == weights()
    assert "XYZ" in p.comments[0]


def test_the_panel_says_that_lbw_is_there(fake, host):
    assert list(host.panel_messages()) == []
    fake.scripts_data.append(SimpleNamespace(path="/x/scripts/lora_block_weight.py", module=None))
    assert "lora-block-weight" in host.panel_messages()[0].text()


def test_strength_over_the_steps(fake, host):
    fake.draw("<lora:rimochan:0@0,1@1>", steps=22)
    assert fake.use() == weights()
    for steps_done, strength in ((1, 0), (11, 5), (21, 10)):
        fake.step(steps_done, steps=22)
        blocks = dict.fromkeys(("IN01", "IN07", "IN08", "M00", "OUT03"), strength)
        assert fake.use() == weights(**blocks)
    fake.draw("<lora:rimochan:1:IN07@0~0;1~1>", steps=22)
    fake.step(11, steps=22)
    assert fake.use() == weights(BASE=10, IN01=10, IN07=5, IN08=10, M00=10, OUT03=10)


def test_a_tag_that_another_extension_has_read_is_left_to_it(fake, host):
    base = sys.modules["extra_networks_lora"].ExtraNetworkLora

    class Scheduled(base):
        """Keeps the strengths to itself, as sd-webui-loractl does."""

        def activate(self, p, params_list):
            for params in params_list:
                params.positional, params.named = [params.positional[0], 1], {}
            return super().activate(p, params_list)

    p = picture("")
    Scheduled().activate(p, [Params(["rimochan", "0@0,1@1", "hr=0.5"])])
    fake.step(0)
    assert (fake.use(), p.comments) == (everywhere(), [])


def test_another_extension_s_options_are_said_where_it_is_not_there(fake, host, monkeypatch):
    tag = "<lora:rimochan:1:hr=0.5>"
    assert "is for sd-webui-loractl" in fake.draw(tag)[1].comments[0]
    monkeypatch.setitem(sys.modules, "loractl", SimpleNamespace())
    assert fake.draw(tag)[1].comments == []
