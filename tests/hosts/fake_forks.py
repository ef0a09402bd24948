"""Forks of Forge that merge by a function which gets a weight's key, each where it has it."""

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from tests.hosts.fake_webui import LAYERS, FakeLora, Params, Picture


def merge(patches: Sequence[Any], weight: torch.Tensor, key: str, dtype: Any = None) -> Any:
    """The one function that all of a fork's merging ends in."""
    for strength, delta, *_ in patches:
        weight = weight + strength * delta
    return weight


class Model:
    """Weights of one number each, by their keys."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = keys
        vars(self).update({key: torch.tensor([100.0]) for key in keys})


class Patcher:
    """A model and the patches that it is to get; clones share the model and its backup."""

    def __init__(self, model: Model, merging: Any) -> None:
        self.model, self.merging = model, merging
        self.patches: dict[str, list[Any]] = {}
        self.backup: dict[str, Any] = {}
        self.weight_wrapper_patches: dict[str, list[Any]] = {}
        self.model_options: dict[str, Any] = {"transformer_options": {}}

    def clone(self) -> "Patcher":
        twin = copy(self)
        twin.patches = {key: entries[:] for key, entries in self.patches.items()}
        twin.weight_wrapper_patches = dict(self.weight_wrapper_patches)
        return twin

    def add_patches(self, deltas: Mapping[str, float], strength: float) -> None:
        for key, delta in deltas.items():
            self.patches[key] = [*self.patches.get(key, []), (strength, delta, 1.0, None, None)]

    def calculate_weight(self, patches: Sequence[Any], weight: torch.Tensor, key: str) -> Any:
        return merge(patches, weight, key)

    def unload(self) -> None:
        for key, kept in self.backup.items():
            setattr(self.model, key, getattr(kept, "weight", kept))
        self.backup.clear()

    def load(self) -> None:
        for key, patches in self.patches.items():
            weight = getattr(self.model, key)
            self.backup[key] = SimpleNamespace(weight=weight)
            setattr(self.model, key, self.merging(self)(patches, weight.clone(), key))


class TextEncoder:
    def __init__(self, patcher: Patcher) -> None:
        self.patcher = patcher

    def clone(self) -> "TextEncoder":
        return TextEncoder(self.patcher.clone())


class Loaded:
    """What memory management keeps of a patcher that is on the device."""

    def __init__(self, patcher: Patcher) -> None:
        self.model: Patcher | None = patcher


class FakeFork(FakeLora):
    """Forge Neo; `takes_whole_loras`: for a quantised model, merging elsewhere."""

    merging_module = "backend.patcher.base"
    memory_module = "backend.memory_management"
    has_ranks = False
    patcher_class = Patcher
    takes_whole_loras = False

    def __init__(self, folder: Path, files: Mapping[str, Mapping[str, float]]) -> None:
        super().__init__(folder, files)
        self.models = [
            Model([key for key in LAYERS if key.startswith("diffusion") == is_unet])
            for is_unet in (True, False)
        ]
        self.merging = ModuleType(self.merging_module)
        self.memory = ModuleType(self.memory_module)
        self.memory.current_loaded_models = []  # type: ignore[attr-defined]
        self.set_merging()
        unet, text = (self.patcher_class(model, self.merging_function) for model in self.models)
        self.original = SimpleNamespace(unet=unet, clip=TextEncoder(text))
        self.model.forge_objects = copy(self.original)
        self.model.forge_objects_after_applying_lora = copy(self.original)
        self.model.current_lora_hash = ""
        self.networks.load_networks = self.load_networks
        self.networks.load_lora_state_dict = self.read

    def set_merging(self) -> None:
        self.merging.merge_lora_to_weight = merge  # type: ignore[attr-defined]

    def merging_function(self, patcher: Patcher) -> Any:
        return getattr(self.merging, "merge_lora_to_weight", merge)

    def modules(self) -> dict[str, Any]:
        return {
            **super().modules(),
            self.merging_module: self.merging,
            self.memory_module: self.memory,
        }

    def read(self, filename: str) -> Mapping[str, float]:
        self.reads.append(Path(filename).stem)
        return dict(self.deltas[Path(filename).stem])

    def load_networks(
        self, names: Sequence[str], te_multipliers: Any = None, unet_multipliers: Any = None
    ) -> None:
        found = [self.networks.available_network_aliases.get(name) for name in names]
        targets = [
            [f.filename, u, t]
            for f, u, t in zip(found, unet_multipliers, te_multipliers, strict=True)
        ]
        if self.model.current_lora_hash == str(targets):
            return
        self.model.current_lora_hash = str(targets)
        objects = copy(self.original)
        for filename, unet, te in targets:
            deltas = self.networks.load_lora_state_dict(filename)
            objects = SimpleNamespace(unet=objects.unet.clone(), clip=objects.clip.clone())
            if self.takes_whole_loras:
                objects.unet.model_options["transformer_options"]["dynamic_loras"] = [filename]
                continue
            for patcher, strength in ((objects.unet, unet), (objects.clip.patcher, te)):
                own = {key: deltas[key] for key in patcher.model.keys if key in deltas}
                patcher.add_patches(own, strength)
        self.model.forge_objects = copy(objects)
        self.model.forge_objects_after_applying_lora = copy(objects)

    def activate_tags(self, p: Picture, tags: Sequence[Params]) -> None:
        self.model.forge_objects = copy(self.original)
        super().activate_tags(p, tags)

    def use(self) -> dict[str, float]:
        """Bring the models onto the device; an extension has put a clone of the UNet there."""
        objects = copy(self.model.forge_objects_after_applying_lora)
        objects.unet = objects.unet.clone()
        self.model.forge_objects = objects
        loaded = self.memory.current_loaded_models
        if [entry.model.patches for entry in loaded] != [
            objects.unet.patches,
            objects.clip.patcher.patches,
        ]:
            for entry in loaded:
                entry.model.unload()
            for patcher in (objects.unet, objects.clip.patcher):
                patcher.load()
            loaded[:] = [Loaded(objects.unet), Loaded(objects.clip.patcher)]
        return self.weights()

    def steps_done(self, p: Picture, count: int) -> None:
        """A step begins after `count`, told with the picture as hosts do."""
        denoiser = SimpleNamespace(step=count, p=p)
        for callback in self.callbacks["cfg_denoiser"]:
            callback(SimpleNamespace(sampling_step=count, denoiser=denoiser))

    def merge_function(self) -> Any:
        """What the adapter replaces."""
        return vars(self.merging)["merge_lora_to_weight"]

    def weights(self) -> dict[str, float]:
        held = {key: float(getattr(model, key)) for model in self.models for key in model.keys}
        return {key: round(held[key], 4) for key in LAYERS}


class FakeReForge(FakeFork):
    """Its Lora extension hands on rank limits, of which it makes nothing."""

    merging_module = "ldm_patched.modules.lora"
    memory_module = "ldm_patched.modules.model_management"
    has_ranks = True

    def set_merging(self) -> None:
        self.merging.calculate_weight = merge  # type: ignore[attr-defined]

    def merging_function(self, patcher: Patcher) -> Any:
        return getattr(self.merging, "calculate_weight", merge)

    def merge_function(self) -> Any:
        return vars(self.merging)["calculate_weight"]

    def load_networks(
        self, names: Sequence[str], te: Any = None, unet: Any = None, dyn_dims: Any = None
    ) -> None:
        super().load_networks(names, te, unet)


class FakeClassic(FakeReForge):
    """Its merging is a method; it leaves out LoRAs of strength 0, and finds files by listing."""

    merging_module = "ldm_patched.modules.model_patcher"
    leaves_out_zeros = True

    def __init__(self, folder: Path, files: Mapping[str, Mapping[str, float]]) -> None:
        super().__init__(folder, files)
        del self.networks.update_available_networks_by_names

    def set_merging(self) -> None:
        class ModelPatcher(Patcher):
            """This host's own class, so that what is replaced in it ends with it."""

        self.patcher_class = self.merging.ModelPatcher = ModelPatcher  # type: ignore

    def merging_function(self, patcher: Patcher) -> Any:
        return patcher.calculate_weight

    def merge_function(self) -> Any:
        return self.patcher_class.calculate_weight
