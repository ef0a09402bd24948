import json

import pytest

from lib_rimo.lora.blocks import LAYOUTS
from lib_rimo.lora.facts import LoraFacts, facts_of_header, read_facts

SD1_KEY = "lora_unet_down_blocks_1_attentions_0_proj_in.lora_up.weight"
SDXL_KEY = "lora_unet_input_blocks_4_1_proj_in.lora_up.weight"
TEXT_KEY = "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"
CROSS = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"
ENTRY = {"dtype": "F16", "shape": [4, 64], "data_offsets": [0, 512]}


def write(path, header):
    content = json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content)
    return path


def test_the_header_is_enough(tmp_path):
    path = write(tmp_path / "a.safetensors", {TEXT_KEY: ENTRY, SD1_KEY: ENTRY, "__metadata__": {}})
    facts = read_facts(path)
    assert facts == LoraFacts("sd1", ("BASE", "IN04"))
    assert facts.layout == 17


@pytest.mark.parametrize(
    ("shapes", "metadata", "family"),
    [
        ({SD1_KEY: [64, 4]}, {}, "sd1"),
        ({SD1_KEY: [64, 4]}, {"ss_v2": "True"}, "sd2"),
        ({SD1_KEY: [64, 4]}, {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        ({SDXL_KEY: [64, 4]}, {}, "sdxl"),
        ({SDXL_KEY: [64, 4]}, {"ss_base_model_version": "sd_v1", "ss_v2": "False"}, "sd1"),
        ({TEXT_KEY.replace("_te_", "_te2_"): [64, 4]}, {}, "sdxl"),
        ({CROSS: [4, 768]}, {"ss_v2": "True"}, "sd1"),
        ({CROSS: [4, 1024]}, {}, "sd2"),
        ({CROSS: [4, 2048]}, {}, "sdxl"),
        ({CROSS: [4, 96]}, {}, "sd1"),
        ({CROSS: []}, {}, "sd1"),
    ],
)
def test_family(shapes, metadata, family):
    assert facts_of_header(shapes, metadata).family == family


def test_layout_fits_the_layers():
    convolution = "lora_unet_down_blocks_0_downsamplers_0_conv.lora_up.weight"
    assert "IN03" not in LAYOUTS[17]
    assert facts_of_header({SD1_KEY: [64, 4], convolution: [64, 4, 1, 1]}, {}).layout == 26
    assert facts_of_header({SDXL_KEY: [64, 4]}, {}).layout == 12


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        b"\xff" * 8,
        (5).to_bytes(8, "little") + b"no js",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}",
    ],
)
def test_other_files_have_no_facts_and_stay(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert read_facts(path) is None
    assert path.read_bytes() == content
    assert read_facts(tmp_path / "none.safetensors") is None


def test_a_file_written_anew_is_read_anew(tmp_path):
    path = write(tmp_path / "a.safetensors", {SD1_KEY: ENTRY})
    assert read_facts(path).family == "sd1"
    write(path, {SDXL_KEY: ENTRY})
    assert read_facts(path).family == "sdxl"
