"""AUTOMATIC1111's built-in Lora: layers that merge when they are used and remember what."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.hosts.fake_webui import LAYERS, FakeLora, Picture, picture


class Layer:
    """A layer of the model; `merges` counts how often LoRAs were merged into it."""

    def __init__(self) -> None:
        self.weight = 100.0
        self.network_current_names: tuple[Any, ...] = ()
        self.merges = 0


class NetworkModule:
    """A LoRA at one layer."""

    def __init__(self, net: Any, layer: str, delta: float) -> None:
        self.network, self.sd_key, self.delta = net, layer, delta

    def multiplier(self) -> float:
        net = self.network
        return net.te_multiplier if "transformer" in self.sd_key[:20] else net.unet_multiplier


class FakeA1111(FakeLora):
    def __init__(self, folder: Path, files: Mapping[str, Mapping[str, float]]) -> None:
        super().__init__(folder, files)
        self.layers = {name: Layer() for name in LAYERS}
        self.model.network_layer_mapping = self.layers
        self.said: list[str] = []
        self.networks.load_networks = self.load_networks
        self.networks.network_restore_weights_from_backup = self.restore

    def modules(self) -> dict[str, Any]:
        return {
            **super().modules(),
            "network": SimpleNamespace(NetworkModule=NetworkModule),
            "modules.sd_hijack": SimpleNamespace(model_hijack=SimpleNamespace(comments=self.said)),
        }

    def load_networks(
        self, names: Sequence[str], te: Sequence[float], unet: Sequence[float], dyn: Sequence[Any]
    ) -> None:
        loaded = {net.name: net for net in self.networks.loaded_networks}
        self.networks.loaded_networks.clear()
        for name, te_multiplier, unet_multiplier, dyn_dim in zip(names, te, unet, dyn, strict=True):
            on_disk = self.networks.available_network_aliases.get(name)
            if on_disk is None:
                self.said.append(f"Lora not found: {name}")
                continue
            net = loaded.get(name)
            if net is None or Path(on_disk.filename).stat().st_mtime > net.mtime:
                net = self.read(name, on_disk)
            net.mentioned_name = name
            net.te_multiplier, net.unet_multiplier = te_multiplier, unet_multiplier
            net.dyn_dim = dyn_dim
            self.networks.loaded_networks.append(net)

    def read(self, name: str, on_disk: Any) -> Any:
        self.reads.append(name)
        net = SimpleNamespace(name=name, mtime=Path(on_disk.filename).stat().st_mtime)
        net.modules = {
            layer: NetworkModule(net, layer, delta) for layer, delta in self.deltas[name].items()
        }
        return net

    def restore(self, layer: Layer) -> None:
        layer.weight = 100.0

    def use(self) -> dict[str, float]:
        """Use every layer once, as a sampling step does."""
        nets = self.networks.loaded_networks
        wanted = tuple((n.name, n.te_multiplier, n.unet_multiplier, n.dyn_dim) for n in nets)
        for name, layer in self.layers.items():
            if layer.network_current_names != wanted:
                layer.merges += 1
                self.restore(layer)
                for net in nets:
                    if name in net.modules:
                        module = net.modules[name]
                        layer.weight += module.delta * module.multiplier()
                layer.network_current_names = wanted
        return {name: layer.weight for name, layer in self.layers.items()}

    def draw(self, prompt: str, seed: int = 1, **settings: Any) -> tuple[dict[str, float], Picture]:
        p = picture(prompt, seed, **settings)
        self.activate(p, [prompt])
        self.step(0)
        return self.use(), p

    def merges(self) -> dict[str, int]:
        """How often each layer was merged since the last time this was asked."""
        counts = {name: layer.merges for name, layer in self.layers.items() if layer.merges}
        for layer in self.layers.values():
            layer.merges = 0
        return counts
