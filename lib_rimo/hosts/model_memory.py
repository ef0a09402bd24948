"""How the host's own model makes room on the GPU for a training, by what the host has for that."""

import importlib
import sys
from typing import Any, Protocol

# The modules in which Forge and those that came from it keep track of their models.
_MANAGERS = ("backend.memory_management", "ldm_patched.modules.model_management")


class ModelMemory(Protocol):
    """The host's model, and where it is."""

    def leave_gpu(self) -> None:
        """Move the model to the machine's own memory."""

    def return_to_gpu(self) -> None:
        """Bring it back."""


class SentModel:
    """AUTOMATIC1111's, which is moved by hand."""

    def __init__(self, sd_models: Any) -> None:
        self.sd_models = sd_models

    def leave_gpu(self) -> None:
        """Move the model to the CPU, where it keeps its weights."""
        model = self.sd_models.model_data.sd_model  # shared.sd_model would load one
        if model is not None:
            self.sd_models.send_model_to_cpu(model)

    def return_to_gpu(self) -> None:
        """Bring it back."""
        model = self.sd_models.model_data.sd_model
        if model is not None:
            self.sd_models.send_model_to_device(model)


class ManagedModels:
    """Those of Forge and its forks, which bring their models back at the next picture."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager

    def leave_gpu(self) -> None:
        """Move all models to the CPU."""
        self.manager.unload_all_models()
        self.manager.soft_empty_cache()

    def return_to_gpu(self) -> None:
        """The host does it by itself."""


class FixedModel:
    """One that cannot be moved from here."""

    def leave_gpu(self) -> None:
        """It stays."""

    def return_to_gpu(self) -> None:
        """It never left."""


def model_memory() -> ModelMemory:
    """What moves the model of the host that this runs in."""
    for name in _MANAGERS:
        manager = sys.modules.get(name)
        if hasattr(manager, "unload_all_models") and hasattr(manager, "soft_empty_cache"):
            return ManagedModels(manager)
    sd_models = importlib.import_module("modules.sd_models")
    if hasattr(sd_models, "send_model_to_cpu") and hasattr(sd_models, "send_model_to_device"):
        return SentModel(sd_models)
    return FixedModel()


def loaded_patchers(model: Any) -> list[Any]:
    """Those of the host's patchers whose patches its loaded model holds; `model` is one of it.

    A patcher is cloned many times, and the clones share the model; the one that was loaded is
    known to what manages memory alone.
    """
    loaded = [
        entry.model
        for name in _MANAGERS
        for entry in getattr(sys.modules.get(name), "current_loaded_models", ())
    ]
    return [patcher for patcher in loaded if patcher is not None and patcher.model is model.model]
