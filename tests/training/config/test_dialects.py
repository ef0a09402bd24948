import json

import pytest

from lib_rimo.errors import UserError
from lib_rimo.training.config.dataset_config import read_dataset_config
from lib_rimo.training.config.documents import parse_mapping
from lib_rimo.training.config.job_file import from_mapping, read_job
from lib_rimo.training.config.options import TrainingOptions, check_values
from lib_rimo.training.config.survey import REFUSED, TAKEN, WARNED, outcome

GUI = {
    "LoRA_type": "Standard",
    "conv_dim": 1,
    "conv_alpha": 1,
    "epoch": 4,
    "learning_rate": "0.0001",
    "lr_scheduler": "constant",
    "lr_scheduler_num_cycles": "",
    "lr_scheduler_power": "",
    "lr_warmup": "10",
    "max_resolution": "512,650",
    "max_train_epochs": "",
    "min_snr_gamma": 0,
    "network_dim": 64,
    "noise_offset": "0.05",
    "optimizer": "AdamW8bit",
    "text_encoder_lr": "5e-05",
    "unet_lr": "0.0001",
    "seed": "",
    "model_list": "custom",
    "num_cpu_threads_per_process": 2,
    "t5xxl": "",
    "sdxl_no_half_vae": True,
}


def options_of(content):
    options, warnings = from_mapping(content)
    check_values(options)
    return options, [str(told) for told in warnings if "as in the recipe" not in str(told)]


def test_the_guis_fields_are_translated_as_it_does():
    options, warnings = options_of(GUI)
    assert warnings == []
    assert options.optimizer_type == "AdamW8bit"
    assert options.max_train_epochs == 4
    assert options.resolution == "512,650"
    assert options.lr_warmup_steps == 0.1
    assert (options.unet_learning_rate, options.text_encoder_learning_rate) == (1e-4, 5e-5)
    assert options.conv_dim is None  # "Standard" has none, whatever the field says
    assert (options.seed, options.lr_scheduler_power) == (1, 1.0)
    assert options.no_half_vae is False  # of SDXL only


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"blocks_to_swap": 0, "cpu_offload_checkpointing": False}, []),
        ({"blocks_to_swap": 18}, ["blocks_to_swap = 18"]),
        ({"cpu_offload_checkpointing": "True"}, ["cpu_offload_checkpointing = 'True'"]),
    ],
)
def test_what_the_gui_hands_on_for_other_families_alone_is_said(changes, said):
    options, warnings = options_of({**GUI, **changes})
    assert [text.partition(" is left out")[0] for text in map(str, warnings)] == said
    assert not options.blocks_to_swap
    assert not options.cpu_offload_checkpointing


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"LoRA_type": "Kohya LoCon"}, {"conv_dim": 1, "conv_alpha": 1.0, "network_type": "lora"}),
        ({"LoRA_type": "LyCORIS/LoHa"}, {"network_type": "loha", "conv_dim": 1}),
        ({"LoRA_type": "LyCORIS/LoHa", "conv_dim": 0}, {"conv_dim": 64}),
        ({"LoRA_type": "LyCORIS/LoKr", "LyCORIS_preset": "attn-mlp"}, {"conv_dim": None}),
        ({"unet_lr": 0, "text_encoder_lr": 0}, {"unet_learning_rate": 1e-4}),
        ({"text_encoder_lr": 0}, {"text_encoder_learning_rate": 0.0}),
        ({"unet_lr": "0.0"}, {"unet_learning_rate": 0.0}),
        ({"max_train_steps": "320"}, {"max_train_steps": 320, "max_train_epochs": None}),
        ({"lr_warmup_steps": 50}, {"lr_warmup_steps": 50.0}),
        ({"sdxl": True}, {"no_half_vae": True}),
        (
            {
                "additional_parameters": "--network_train_unet_only --max_grad_norm=0 "
                '--optimizer_args "weight_decay=0.1" "eps=1e-6"'
            },
            {
                "text_encoder_lr": 0.0,
                "max_grad_norm": 0.0,
                "optimizer_args": ["weight_decay=0.1", "eps=1e-6"],
            },
        ),
        ({"noise_offset_type": "Multires"}, {"noise_offset": 0.0}),
        (
            {"optimizer_args": '"weight_decay=0.1" "betas=0.9,0.99"'},
            {"optimizer_args": ["weight_decay=0.1", "betas=0.9,0.99"]},
        ),
    ],
)
def test_single_fields(changes, expected):
    options, _ = options_of({**GUI, **changes})
    assert {name: getattr(options, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({**GUI, "flux1_checkbox": True}, "file of kohya_ss's GUI is for Flux"),
        ({**GUI, "flux1_checkbox": True, "model_type": "chroma"}, "is for Chroma"),
        ({**GUI, "sd3_checkbox": True}, "is for SD3: only LoRAs for SD1, SD2 and SDXL"),
        (
            {"network_module": "lycoris.kohya", "network_args": ["algo=abba"]},
            "algo=abba is not supp",
        ),
        ({"optimizer": "AdamW", "max_resolution": "512"}, "Dreambooth tab"),
        ({"optimizer": "AdamW", "lr_warmup": 0, "token_string": "x"}, "Textual Inversion tab"),
        ({"network_module": "networks.lora_flux"}, "is for Flux"),
        ({"network_module": "networks.oft"}, "network_module networks.oft is not supported"),
        ({"model_train_type": "sd3-lora", "pretrained_model_name_or_path": "x"}, "for SD3"),
        ({"metadata": {"train_type": "flux-lora"}, "data": {"epoch": 1}}, "for Flux"),
        ({"training_method": "LORA", "model_type": "FLUX_DEV_1"}, "OneTrainer is for Flux Dev 1"),
        ({"training_method": "FINE_TUNE", "model_type": "STABLE_DIFFUSION_15"}, "only LORA"),
        ({"flux_args": {"args": {"ae": "x"}}}, "Easy_Training_Scripts is for Flux"),
        ({"unet_target_module": ["x"], "enable_conv": True}, "preset of LyCORIS"),
        ({"prompts": [{"target": "x"}]}, r"says nothing about a training.*\(prompts\)"),
    ],
)
def test_what_is_something_else_is_refused_by_name(content, sentence):
    with pytest.raises(UserError, match=sentence):
        from_mapping(content)


EASY = """
[[subsets]]
num_repeats = 10
keep_tokens = 1
image_dir = "IMAGES"
[[subsets]]
image_dir = "OTHERS"
is_reg = true
[noise_args]
[general_args.args]
pretrained_model_name_or_path = "MODEL"
max_train_epochs = 2
[general_args.dataset_args]
resolution = 768
batch_size = 3
[network_args.args]
network_dim = 8
network_alpha = 1.0
[network_args.args.network_args]
conv_dim = 4
[optimizer_args.args]
optimizer_type = "LoraEasyCustomOptimizer.adamw8bitkahan.AdamW8bit"
learning_rate = 0.0001
warmup_ratio = 0.05
[optimizer_args.args.optimizer_args]
weight_decay = 0.1
betas = "0.9,0.99"
[bucket_args.dataset_args]
enable_bucket = true
"""


def test_easy_training_scripts_pages_and_subsets(tmp_path):
    path = tmp_path / "easy.toml"
    path.write_text(EASY)
    options, warnings = read_job(path)
    assert [told for told in warnings if "as in the recipe" not in str(told)] == []
    assert (options.train_batch_size, options.resolution) == (3, "768")
    assert (options.conv_dim, options.lr_warmup_steps) == (4, 0.05)
    assert options.optimizer_args == ["weight_decay=0.1", "betas=0.9,0.99"]
    assert options.optimizer_type == "AdamW8bit"
    training, regularisation = read_dataset_config(options.dataset_config).subsets
    assert (str(training.image_dir), training.num_repeats) == ("IMAGES", 10)
    assert regularisation.is_reg
    # Written out as a job it is the same again.
    assert from_mapping(vars(options))[0] == options


def test_lora_scripts_page_names():
    options, warnings = options_of(
        {
            "model_train_type": "sd-lora",
            "network_module": "lycoris.kohya",
            "lycoris_algo": "loha",
            "conv_dim": 4,
            "conv_alpha": 1,
            "lr_restart_cycles": 3,
            "max_token_length": 255,
            "optimizer_type": "Prodigy",
            "prodigy_d_coef": "2.0",
            "optimizer_args_custom": ["weight_decay=0.01"],
            "enable_preview": True,
            "positive_prompts": "1girl, solo",
            "sample_width": 512,
            "sample_cfg": 7,
            "clip_skip": 0,
            "enable_block_weights": False,
            "down_lr_weight": "1,0",
        }
    )
    assert options.network_type == "loha"
    assert (options.conv_dim, options.lr_scheduler_num_cycles) == (4, 3)
    assert options.max_token_length == 225
    assert options.optimizer_args == ["d_coef=2.0", "weight_decay=0.01"]
    assert options.sample_prompts == "1girl, solo --w 512 --l 7"
    assert (options.clip_skip, options.block_lr_weight) == (1, "")
    assert any("max_token_length 255 counts as 225" in text for text in warnings)


def test_one_trainers_fields():
    options, warnings = options_of(
        {
            "training_method": "LORA",
            "model_type": "STABLE_DIFFUSION_XL_10_BASE",
            "base_model_name": "sdxl.safetensors",
            "lora_rank": 16,
            "lora_alpha": 1.0,
            "learning_rate": 3e-4,
            "text_encoder": {"train": False, "learning_rate": None},
            "unet": {"train": True, "learning_rate": None},
            "optimizer": {"optimizer": "ADAMW", "weight_decay": 0.01, "beta1": 0.9, "beta2": 0.99},
            "learning_rate_scheduler": "COSINE",
            "concepts": [{"path": "a", "balancing": 3.0}, {"path": "b", "enabled": False}],
            "masked_training": True,
            "unmasked_weight": 0.1,
            "masked_prior_preservation_weight": 0.5,
            "output_model_destination": "models\\x.safetensors",
            "min_noising_strength": 0.0,
            "max_noising_strength": 0.8,
        }
    )
    assert (options.unet_learning_rate, options.text_encoder_learning_rate) == (3e-4, 0)
    assert (options.network_dim, options.network_alpha) == (16, 1.0)
    assert options.optimizer_args == ["weight_decay=0.01", "betas=0.9,0.99"]
    assert (options.output_dir, options.output_name) == ("models", "x")
    assert (options.min_timestep, options.max_timestep) == (0, 800)
    assert (options.masked_training, options.unmasked_weight) == (True, 0.1)
    assert options.masked_prior_preservation_weight == 0.5
    (subset,) = read_dataset_config(options.dataset_config).subsets
    assert (str(subset.image_dir), subset.num_repeats) == ("a", 3)
    assert warnings == []


def test_one_trainers_concepts_by_their_type():
    concepts = [
        {"path": "a", "type": "STANDARD"},
        {"path": "b", "type": "PRIOR_PREDICTION"},
        {"path": "c", "type": "VALIDATION"},
    ]
    options, _ = options_of(
        {
            "training_method": "LORA",
            "model_type": "STABLE_DIFFUSION_15",
            "learning_rate": 1e-4,
            "concepts": concepts,
        }
    )
    assert options.reg_prior_prediction
    found = read_dataset_config(options.dataset_config).subsets
    assert [(str(subset.image_dir), subset.is_reg) for subset in found] == [
        ("a", False),
        ("b", True),
    ]


@pytest.mark.parametrize(
    "written", [r"E:\train\new", r".\train\new", r"\\nas\train\new", r"E:\\train\\new"]
)
@pytest.mark.parametrize("is_json", [True, False])
def test_paths_of_windows_may_stand_as_they_are(written, is_json):
    line = f'{{"train_data_dir": "{written}"}}' if is_json else f'train_data_dir = "{written}"'
    path = parse_mapping(line, "job", is_json=is_json)["train_data_dir"]
    assert path == written.replace("E:\\\\train\\\\new", r"E:\train\new")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("block_dims=" + ",".join(["4"] * 25), ("block_dims", "10" + ",4" * 25)),
        ("block_alphas=" + ",".join(["3"] * 25), ("block_alphas", "2" + ",3" * 25)),
        ("block_dims=0" + ",4" * 21 + ",0", ("block_dims", "10" + ",4" * 19)),
        (
            "down_lr_weight=" + ",".join(["0.5"] * 9),
            ("block_lr_weight", "1" + ",0.5" * 9 + ",1" * 10),
        ),
        ("up_lr_weight=zeros", ("block_lr_weight", "1" + ",1" * 13 + ",0" * 12)),
        ("down_lr_weight=0.5", ("block_lr_weight", "1,0.5" + ",1" * 24)),
    ],
)
def test_kohyas_vectors_get_the_text_encoder_in_front(text, expected):
    given = {"network_module": "networks.lora", "network_dim": 10, "network_alpha": 2}
    options, _ = options_of({**given, "network_args": [text]})
    assert getattr(options, expected[0]) == expected[1]


@pytest.mark.parametrize(
    ("arguments", "least"),
    [
        (["use_timestep_mask=True"], 1),
        (["use_timestep_mask=True", "min_rank=4"], 4),
        (["use_timestep_mask=False", "min_rank=4"], None),
    ],
)
def test_t_loras_arguments(arguments, least):
    options, warnings = options_of({"network_module": "networks.lora", "network_args": arguments})
    assert options.tlora_min_rank == least
    assert warnings == []


def test_blank_fields_are_defaults_and_odd_names_are_named():
    options, warnings = options_of(
        {"learning_rate": "", "unet_lr": "", "lr_scheduler_power": " ", "network_dimm": 4}
        | {"network_dim": 4, "cache_latent": False}
    )
    assert options == TrainingOptions(network_dim=4)
    assert warnings == [
        "cache_latent = False is not known here and was left out (is cache_latents meant?).",
        "network_dimm = 4 is not known here and was left out (is network_dim meant?).",
    ]


def test_the_survey_tells_outcomes(tmp_path):
    contents = {
        "a.json": (GUI, TAKEN),
        "b.json": ({"network_dim": 4, "color_aug": True}, WARNED),
        "c.json": ({**GUI, "sd3_checkbox": True}, REFUSED),
    }
    for name, (content, expected) in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
        what, said = outcome(tmp_path / name)
        assert what == expected or (what, str(said[0])[:4]) == (WARNED, "What")


@pytest.mark.parametrize(
    ("arguments", "taken", "said"),
    [
        ("algo=ia3 preset=ia3", {"network_type": "ia3", "conv_dim": None}, ""),
        ("algo=ia3 train_on_input=True", {"network_type": "ia3"}, "Of IA3 to_k, to_v"),
        ("algo=diag-oft constraint=0.1 rescaled=True", {"constraint": 0.1, "rescaled": True}, ""),
        ("algo=glora use_scalar=True", {"network_type": "glora", "use_scalar": True}, ""),
        ("algo=full use_scalar=True", {"network_type": "full"}, "use_scalar is left out"),
        ("algo=loha dora_wd=True bypass_mode=True", {"dora_wd": True}, ""),
        ("algo=locon dora_wd=True", {"network_type": "dora", "dora_wd": False}, ""),
        ("algo=locon train_norm=True rs_lora=True", {"train_norm": True, "rs_lora": True}, ""),
        ("algo=dylora unit=4", {"network_type": "lora"}, "a plain LoRA is trained"),
    ],
)
def test_lycoris_arguments_mean_what_they_mean_there(arguments, taken, said):
    options, warnings = from_mapping(
        {"network_module": "lycoris.kohya", "network_args": arguments.split()}
    )
    assert {name: getattr(options, name) for name in taken} == taken
    about = [
        text
        for text in map(str, warnings)
        if "left out" in text or "is trained" in text or "IA3" in text
    ]
    assert said in " ".join(about)
    assert bool(about) == bool(said)


def test_an_option_of_other_networks_is_left_out_of_foreign_files():
    options, warnings = from_mapping(
        {
            "network_module": "lycoris.kohya",
            "network_args": ["algo=ia3", "preset=ia3"],
            "scale_weight_norms": 1,
        }
    )
    assert options.scale_weight_norms == 0
    assert any("scale_weight_norms is left out" in str(text) for text in warnings)
