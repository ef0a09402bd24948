"""Forge's Lora and the part of its backend that merges patches into a model's weights."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.hosts.fake_webui import LAYERS, FakeLora


class LoraLoader:
    """Merges patches into a model; `merges` counts how often each weight was merged."""

    def __init__(self, weights: dict[str, float]) -> None:
        self.weights = weights
        self.backup: dict[str, float] = {}
        self.loaded_hash = str([])
        self.merges: dict[str, int] = {}

    def refresh(
        self, lora_patches: Any, offload_device: str = "cpu", force_refresh: bool = False
    ) -> None:
        identities = str(list(lora_patches))
        if identities == self.loaded_hash and not force_refresh:
            return
        self.weights.update(self.backup)
        self.backup = {}
        for patches in lora_patches.values():
            for key, entries in patches.items():
                if key not in self.backup:
                    self.backup[key] = self.weights[key]
                    self.merges[key] = self.merges.get(key, 0) + 1
                for strength, delta, *_ in entries:
                    self.weights[key] += strength * delta
        self.loaded_hash = identities


class Patcher:
    """A model with LoRA patches; clones share the model and its loader."""

    offload_device = "cpu"

    def __init__(self, loader: LoraLoader, patches: Any = None) -> None:
        self.lora_loader = loader
        self.lora_patches = patches or {}

    def with_lora(self, filename: str, deltas: Mapping[str, float], strength: float) -> "Patcher":
        entries = {key: [[strength, delta, 1.0, None, None]] for key, delta in deltas.items()}
        identity = (filename, strength, 1.0, False)
        return Patcher(self.lora_loader, {**self.lora_patches, identity: entries})

    def clone(self) -> "Patcher":
        return Patcher(self.lora_loader, dict(self.lora_patches))

    def refresh_loras(self) -> None:
        self.lora_loader.refresh(lora_patches=self.lora_patches, offload_device=self.offload_device)


class TextEncoder:
    """Forge's CLIP, which holds its patcher."""

    def __init__(self, patcher: Patcher) -> None:
        self.patcher = patcher

    def clone(self) -> "TextEncoder":
        return TextEncoder(self.patcher.clone())


class FakeForge(FakeLora):
    def __init__(self, folder: Path, files: Mapping[str, Mapping[str, float]]) -> None:
        super().__init__(folder, files)
        unet = {name: 100.0 for name in LAYERS if name.startswith("diffusion")}
        text = {name: 100.0 for name in LAYERS if name not in unet}
        self.original = (Patcher(LoraLoader(unet)), Patcher(LoraLoader(text)))
        self.loaded = self.original  # the models that are on the device, with their patches
        self.model.current_lora_hash = str([])
        self.set_objects(*self.original)
        self.networks.load_networks = self.load_networks
        self.networks.load_lora_state_dict = functools.lru_cache(self.read)

    def modules(self) -> dict[str, Any]:
        return {
            **super().modules(),
            "backend.patcher.lora": SimpleNamespace(LoraLoader=LoraLoader),
        }

    def set_objects(self, unet: Patcher, text: Patcher) -> None:
        objects = {"unet": unet, "clip": TextEncoder(text)}
        self.model.forge_objects = SimpleNamespace(**objects)
        self.model.forge_objects_after_applying_lora = SimpleNamespace(**objects)

    def read(self, filename: str) -> Mapping[str, float]:
        self.reads.append(Path(filename).stem)
        return dict(self.deltas[Path(filename).stem])

    def load_networks(
        self,
        names: Sequence[str],
        te: Sequence[float],
        unet: Sequence[float],
        dyn: Sequence[Any] = (),
    ) -> None:
        """As in Forge, a name without a file fails all."""
        found = [self.networks.available_network_aliases.get(name) for name in names]
        targets = [[f.filename, u, t, False] for f, u, t in zip(found, unet, te, strict=True)]
        if self.model.current_lora_hash == str(targets):
            return
        self.model.current_lora_hash = str(targets)
        models = self.original
        for filename, unet_strength, te_strength, _ in targets:
            deltas = self.networks.load_lora_state_dict(filename)
            strengths = (unet_strength, te_strength)
            models = tuple(
                model.with_lora(
                    filename,
                    {k: v for k, v in deltas.items() if k in model.lora_loader.weights},
                    strength,
                )
                for model, strength in zip(models, strengths, strict=True)
            )
        self.set_objects(*models)

    def use(self) -> dict[str, float]:
        """Bring the models onto the device, which merges where they are other ones than before."""
        objects = self.model.forge_objects_after_applying_lora
        models = (objects.unet, objects.clip.patcher)
        for model, before in zip(models, self.loaded, strict=True):
            if model is not before:
                model.refresh_loras()
        self.loaded = models
        return self.weights()

    def weights(self) -> dict[str, float]:
        unet, text = self.loaded
        merged = {**unet.lora_loader.weights, **text.lora_loader.weights}
        return {name: merged[name] for name in LAYERS}

    def merge_function(self) -> Any:
        """What the adapter replaces."""
        return LoraLoader.refresh

    def merges(self) -> dict[str, int]:
        """How often each weight was merged since the last time this was asked."""
        loaders = [model.lora_loader for model in self.original]
        counts = {key: count for loader in loaders for key, count in loader.merges.items()}
        for loader in loaders:
            loader.merges.clear()
        return counts


class FakeErsatzForge(FakeForge):
    """As Forge, but for LoRAs of strength 0, which it leaves out."""

    leaves_out_zeros = True
