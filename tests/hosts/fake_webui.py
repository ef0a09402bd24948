"""Stand-ins for the hosts' modules, with the behaviour that the adapters rely on.

A "picture" is what the model's layers hold when they are used: layer -> weight. Weights and what a
LoRA adds to them are plain numbers, so that a test can say what they have to be.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

LAYERS = (
    "transformer_text_model_encoder_layers_0_mlp_fc1",
    "diffusion_model_input_blocks_1_1_transformer_blocks_0_attn1_to_q",
    "diffusion_model_input_blocks_7_1_transformer_blocks_0_attn1_to_q",
    "diffusion_model_input_blocks_8_1_transformer_blocks_0_attn2_to_k",
    "diffusion_model_middle_block_1_proj_in",
    "diffusion_model_output_blocks_3_1_transformer_blocks_0_ff_net_2",
)
BASE, IN01, IN07, IN08, M00, OUT03 = LAYERS

FILES = {"rimochan": dict.fromkeys(LAYERS, 10.0), "other": {BASE: 1.0, IN07: 1.0}}
"""What two LoRA files add to the layers."""
SEED_TAG = "<lora:rimochan:1:1,1,1,1,1,0.8,0.2,1,1,1,1,1,1,1,1,1,1>"


class Params:
    """The WebUI's form of a tag's items: those with one `=` are named."""

    def __init__(self, items: Sequence[str]) -> None:
        self.items = list(items)
        self.positional = [item for item in items if item.count("=") != 1]
        self.named = dict(item.split("=") for item in items if item.count("=") == 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Params) and self.items == other.items


class Picture(SimpleNamespace):
    """The settings of a picture, the WebUI's `p`."""

    def comment(self, text: str) -> None:
        self.comments.append(text)


def picture(prompt: str, seed: int = 1, **settings: Any) -> Picture:
    defaults = {
        "prompt": prompt,
        "main_prompt": prompt,
        "all_prompts": [prompt],
        "all_hr_prompts": [],
        "seed": seed,
        "seeds": [seed],
        "styles": [],
        "scripts": None,
        "comments": [],
        "extra_generation_params": {},
        "is_hr_pass": False,
        "cached_c": [None, None],
    }
    return Picture(**{**defaults, **settings})


def weights(strength: float = 0.0, **changed: float) -> dict[str, float]:
    """A picture's layers: the model's own weight, 100, and on it `strength`, or what is named."""
    names = {"BASE": BASE, "IN01": IN01, "IN07": IN07, "IN08": IN08, "M00": M00, "OUT03": OUT03}
    added = {names[block]: value for block, value in changed.items()}
    return {name: 100.0 + added.get(name, strength) for name in LAYERS}


def everywhere(strength: float = 10.0, **changed: float) -> dict[str, float]:
    """A picture's layers where `rimochan` acts."""
    return weights(strength, **changed)


def tags_of(prompts: Sequence[str]) -> list[Params]:
    """The LoRA tags of a batch: those of its first prompt only."""
    return [
        Params(found[1].split(":")) for found in re.finditer(r"<(?:lora|lyco):([^>]+)>", prompts[0])
    ]


class FakeLora:
    """The state and the functions that all hosts' Lora extensions have."""

    has_ranks = True  # whether rank limits are handed on
    leaves_out_zeros = False

    def __init__(self, folder: Path, files: Mapping[str, Mapping[str, float]]) -> None:
        self.callbacks: dict[str, list[Callable[..., Any]]] = {}
        self.deltas = {name: dict(deltas) for name, deltas in files.items()}
        self.reads: list[str] = []
        self.errors: list[Exception] = []
        self.aliases: dict[str, Any] = {}
        networks: Any = ModuleType("networks")
        networks.extra_network_lora = "the Lora extension"
        networks.loaded_networks = []
        networks.networks_in_memory = {}
        networks.available_networks = {}
        networks.forbidden_network_aliases = {}
        for name in files:
            path = folder / f"{name}.pt"
            path.write_bytes(b"1")
            networks.available_networks[name] = SimpleNamespace(name=name, filename=str(path))
        networks.available_network_aliases = dict(networks.available_networks)
        networks.list_available_networks = lambda: None
        networks.update_available_networks_by_names = lambda names: None
        self.networks = networks
        self.model = SimpleNamespace(is_sdxl=False, is_sd2=False)
        self.scripts_data: list[Any] = []
        self.folder = folder

    def modules(self) -> dict[str, Any]:
        fake = self

        class ExtraNetworkLora:
            def activate(self, p: Any, params_list: list[Params]) -> None:
                """As both hosts have it: a wrong number anywhere, and no LoRA is loaded."""
                names, te_multipliers, unet_multipliers = [], [], []
                for params in params_list:
                    numbers = params.positional[1:]
                    te = float(params.named.get("te", numbers[0] if numbers else 1.0))
                    unet = numbers[1] if len(numbers) > 1 else te
                    unet = float(params.named.get("unet", unet))
                    if fake.leaves_out_zeros and te == unet == 0:
                        continue
                    names.append(params.positional[0])
                    te_multipliers.append(te)
                    unet_multipliers.append(unet)
                ranks = [[None] * len(names)] if fake.has_ranks else []
                fake.networks.load_networks(names, te_multipliers, unet_multipliers, *ranks)

        def register(kind: str) -> Callable[[Callable[..., Any]], None]:
            return lambda callback: fake.callbacks.setdefault(kind, []).append(callback)

        kinds = ("script_unloaded", "infotext_pasted", "cfg_denoiser", "before_ui")
        return {
            "networks": self.networks,
            "extra_networks_lora": SimpleNamespace(ExtraNetworkLora=ExtraNetworkLora),
            "modules": ModuleType("modules"),
            "modules.extra_networks": SimpleNamespace(
                ExtraNetworkParams=Params,
                extra_network_aliases=self.aliases,
                register_extra_network_alias=lambda network, alias: self.aliases.update(
                    {alias: network}
                ),
            ),
            "modules.paths_internal": SimpleNamespace(
                script_path=str(self.folder), data_path=str(self.folder)
            ),
            "modules.paths": SimpleNamespace(data_path=str(self.folder)),
            "modules.script_callbacks": SimpleNamespace(
                **{f"on_{kind}": register(kind) for kind in kinds}
            ),
            "modules.scripts": SimpleNamespace(scripts_data=self.scripts_data),
            "modules.shared": SimpleNamespace(
                sd_model=self.model,
                prompt_styles=SimpleNamespace(
                    apply_styles_to_prompt=lambda prompt, styles: ", ".join([prompt, *styles])
                ),
            ),
        }

    def put_into(self, monkeypatch: Any) -> None:
        for name, module in self.modules().items():
            monkeypatch.setitem(sys.modules, name, module)

    def activate(self, p: Picture, prompts: Sequence[str]) -> list[Params]:
        """A batch begins. The host only prints what goes wrong."""
        tags = tags_of(prompts)
        self.activate_tags(p, tags)
        return tags

    def activate_tags(self, p: Picture, tags: Sequence[Params]) -> None:
        try:
            sys.modules["extra_networks_lora"].ExtraNetworkLora().activate(p, list(tags))
        except Exception as error:
            self.errors.append(error)

    def draw(self, prompt: str, seed: int = 1, **settings: Any) -> tuple[dict[str, float], Picture]:
        """A picture's layers at its first step, and its settings."""
        p = picture(prompt, seed, **settings)
        self.activate(p, [prompt])
        self.use()
        self.step(0)
        return self.weights(), p

    def use(self) -> dict[str, float]:
        """Bring the models onto the device, or use every layer once."""
        raise NotImplementedError

    def weights(self) -> dict[str, float]:
        """The layers as they stand."""
        raise NotImplementedError

    def step(self, steps_done: int, steps: int = 20) -> None:
        """A sampling step begins; the host's count is 0 for the second step too."""
        params = SimpleNamespace(
            sampling_step=max(0, steps_done - 1),
            total_sampling_steps=steps,
            denoiser=SimpleNamespace(step=steps_done),
        )
        for callback in self.callbacks.get("cfg_denoiser", []):
            callback(params)

    def run(self, kind: str, *arguments: Any) -> None:
        for callback in self.callbacks.get(kind, []):
            callback(*arguments)
