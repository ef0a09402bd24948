import pytest
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.inference.grid import (
    axes_infotext,
    axes_of_infotext,
    cells,
    draw_grid,
    next_number,
    parse_axis,
)
from lib_rimo.inference.infotext import Settings, format_infotext, parse_infotext


def prompts(settings, *axes):
    return [cell.prompt for cell in cells(settings, [parse_axis(*axis) for axis in axes])]


def test_prompt_search_and_replace_begins_with_what_is_there():
    settings = Settings(prompt="girl, sitting, outdoors", negative_prompt="sitting dog")
    x, y = ("Prompt S/R", "sitting, standing"), ("prompt s/r", "outdoors, indoors")
    assert prompts(settings, x, y) == [
        "girl, sitting, outdoors",
        "girl, standing, outdoors",
        "girl, sitting, indoors",
        "girl, standing, indoors",
    ]
    (_, second) = cells(settings, [parse_axis(*x)])
    assert second.negative_prompt == "standing dog"


def test_replacements_do_not_meet_what_others_wrote():
    settings = Settings(prompt="red cat, blue dog")
    axes = ("Prompt S/R", "red, blue"), ("Prompt S/R", "blue, green")
    assert prompts(settings, *axes)[3] == "blue cat, green dog"


def test_a_search_that_finds_nothing_is_refused():
    with pytest.raises(UserError, match='looks for "kneeling"'):
        prompts(Settings(prompt="girl, sitting"), ("Prompt S/R", "kneeling, sitting"))


def test_settings_axes():
    axes = [
        parse_axis("seed", "1-3"),
        parse_axis("CFG scale", "5, 7.5"),
        parse_axis("Steps", "10-30 [3]"),
    ]
    drawn = list(cells(Settings(prompt="x"), axes))
    assert len(drawn) == 18
    assert [cell.seed for cell in drawn[:4]] == [1, 2, 3, 1]
    assert [cell.cfg_scale for cell in drawn[:6]] == [5, 5, 5, 7.5, 7.5, 7.5]
    assert [drawn[n].steps for n in (0, 6, 12)] == [10, 20, 30]
    assert axes[1].labels == ("CFG Scale: 5", "CFG Scale: 7.5")


def test_lora_axes_write_into_the_tag():
    settings = Settings(prompt="girl <lora:rimochan:1:1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1>")
    strengths = prompts(settings, ("LoRA strength", "0.5, 1"))
    assert strengths[0].startswith("girl <lora:rimochan:0.5:1,1,1,1,1,0.8,")
    both = prompts(settings, ("Block weights", "MIDD; ALL"), ("Prompt S/R", "girl, boy"))
    assert both == [
        "girl <lora:rimochan:1:MIDD>",
        "girl <lora:rimochan:1:ALL>",
        "boy <lora:rimochan:1:MIDD>",
        "boy <lora:rimochan:1:ALL>",
    ]
    with pytest.raises(UserError, match="no LoRA to vary"):
        prompts(Settings(prompt="girl"), ("LoRA strength", "1"))


def test_strength_by_search_and_replace_as_in_the_webui():
    settings = Settings(prompt="girl, <lora:rimochan:0.1>")
    assert prompts(settings, ("Prompt S/R", "0.1,0.2")) == [
        "girl, <lora:rimochan:0.1>",
        "girl, <lora:rimochan:0.2>",
    ]


def test_axes_are_read_from_a_pasted_text_and_written_back():
    text = (
        "girl, sitting, outdoors\nSteps: 5, Sampler: DDIM, Seed: 1, Script: X/Y/Z plot, "
        'X Type: Prompt S/R, X Values: "sitting, standing", Y Type: Seed, Y Values: "1,2"'
    )
    settings, fields = parse_infotext(text)
    axes = axes_of_infotext(fields)
    assert [axis.labels for axis in axes] == [("sitting", "standing"), ("Seed: 1", "Seed: 2")]
    again, fields = parse_infotext(format_infotext(settings, axes_infotext(axes)))
    assert axes_of_infotext(fields) == axes
    assert again == settings


def test_unknown_axes_and_empty_ones_are_refused():
    with pytest.raises(UserError, match='no axis "Colour"'):
        parse_axis("Colour", "red")
    with pytest.raises(UserError, match="no values"):
        parse_axis("Prompt S/R", " ")
    with pytest.raises(UserError, match="no sampler"):
        parse_axis("Sampler", "Nonsense")


def test_a_grid_holds_every_picture_beside_its_labels():
    colours = ["red", "green", "blue", "yellow", "cyan", "magenta", "black", "white"]
    images = [Image.new("RGB", (64, 96), colour) for colour in colours]
    grid = draw_grid(images, ["a", "b"], ["one", "two, a much longer label"], ["first", "second"])
    counts = {colour: count for count, colour in grid.getcolors(1 << 20)}
    for image in images[:-1]:
        assert counts[image.getpixel((0, 0))] >= 64 * 96
    assert grid.width > 2 * 64
    plain = draw_grid(images[:2], ["", ""])
    assert plain.getpixel((0, 0)) == (255, 0, 0)  # no margins without labels


def test_labels_may_be_in_any_language():
    assert draw_grid([Image.new("RGB", (64, 64))], ["站立，户外"], ["莉沫酱"]).size > (64, 64)


def test_numbering_goes_on_behind_the_highest(tmp_path):
    assert next_number(tmp_path / "missing") == 0
    for name in ("00003-1.png", "xyz-00007.png", "xyz-00008", "other.png"):
        (tmp_path / name).touch()
    assert next_number(tmp_path) == 4
    assert next_number(tmp_path, "xyz-") == 9


def test_an_empty_replacement_takes_words_out():
    settings = Settings(prompt="girl, sitting, outdoors")
    assert prompts(settings, ("Prompt S/R", '", sitting", ')) == [
        "girl, sitting, outdoors",
        "girl, outdoors",
    ]
    with pytest.raises(UserError, match="begin with words"):
        parse_axis("Prompt S/R", ", sitting")
    with pytest.raises(UserError, match="cannot be read"):
        parse_axis("Prompt S/R", "x" * 200_000)
