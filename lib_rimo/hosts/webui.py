"""What AUTOMATIC1111's WebUI and Forge have in common: tags, presets, files, the infotext."""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.hosts import lbw
from lib_rimo.hosts.activation import (
    ReadTag,
    carried,
    is_plain,
    left_out,
    not_found,
    paste_infotext,
    read_tag,
    write_infotext,
)
from lib_rimo.hosts.callbacks import register
from lib_rimo.hosts.environment import TrainerEnvironment
from lib_rimo.hosts.lora_files import entry_of
from lib_rimo.hosts.multiplier import multiplier_of
from lib_rimo.hosts.patches import Patches, Place
from lib_rimo.hosts.xyz import add_axes, write_prompts
from lib_rimo.lora.blocks import block_of_key
from lib_rimo.messages import Message
from lib_rimo.weights.presets import (
    DEFAULT_PRESETS,
    Presets,
    lbw_folders,
    load_presets,
    save_preset,
)
from lib_rimo.weights.ramp import value_at
from lib_rimo.weights.tags import LoraTag

ACTIVATE = Place("extra_networks_lora", "ExtraNetworkLora.activate", 3)


class WebUI:
    """An adapter's common part; one is made each time the host loads its scripts."""

    name: str
    places: tuple[Place, ...]
    """What is replaced in the host; the first is where it merges, which tells it from others."""
    networks_needed: tuple[str, ...] = (
        "available_networks",
        "available_network_aliases",
        "forbidden_network_aliases",
        "list_available_networks",
    )
    """What is read of the Lora extension's module `networks`."""

    def __init__(self) -> None:
        # The Lora extension's modules are top-level ones; it is loaded before any other.
        self.networks = importlib.import_module("networks")
        self.extra_networks_lora = importlib.import_module("extra_networks_lora")
        self.extra_networks = importlib.import_module("modules.extra_networks")
        self.paths = importlib.import_module("modules.paths_internal")
        self.script_callbacks = importlib.import_module("modules.script_callbacks")
        self.scripts = importlib.import_module("modules.scripts")
        self.shared = importlib.import_module("modules.shared")
        self._patches = Patches()
        self._file_times: dict[str, float] = {}
        self.steps = 1  # of the sampling that is going on, or the last one

    def install(self) -> None:
        """Take over from the Lora extension, until the scripts are unloaded.

        Raises UserError, and has replaced nothing then, where the host is not as it was known.
        """
        self._patches.replace_all(dict(zip(self.places, self.functions(), strict=True)))
        register(
            self.script_callbacks,
            on_script_unloaded=self.uninstall,
            on_infotext_pasted=paste_infotext,
            on_cfg_denoiser=self._before_denoising,
            on_before_ui=self._before_ui,
        )

    def uninstall(self) -> None:
        """Put the host's own functions back."""
        self._patches.undo()

    def functions(self) -> Sequence[Callable[..., Any]]:
        """What stands in the places of the host's functions."""
        raise NotImplementedError

    def load(self, original: Callable[[], None], tags: Sequence[ReadTag]) -> list[Message]:
        """Let the host load the LoRAs of `tags`, with strengths that know their blocks.

        Gives messages for the user.
        """
        raise NotImplementedError

    def before_step(self, steps_done: int) -> None:
        """A sampling step is about to begin, and that many are done."""
        raise NotImplementedError

    def forget(self, name: str) -> None:
        """Drop what the host remembers of a LoRA whose file has been replaced."""
        raise NotImplementedError

    def can_load(self, name: str) -> bool:
        """Whether the host can be given this LoRA without harm to the others."""
        return True

    @property
    def family(self) -> str:
        """The loaded checkpoint's family."""
        model = self.shared.sd_model
        unet = getattr(getattr(model, "forge_objects", None), "unet", None)
        network = getattr(getattr(unet, "model", None), "diffusion_model", None)
        if hasattr(network, "double_blocks"):
            return "Flux"
        if getattr(model, "is_sdxl", False):
            return "sdxl"
        return "sd2" if getattr(model, "is_sd2", False) else "sd1"

    def multipliers(self, read: ReadTag) -> tuple[float, float]:
        """(text encoder's, UNet's) strength of a LoRA, for the host."""
        tag = read.tag
        return (
            multiplier_of(value_at(tag.te, 0, 1), tag.blocks, self.family),
            multiplier_of(value_at(tag.unet, 0, 1), tag.blocks, self.family),
        )

    def multiplier_at_step(self, read: ReadTag, steps_done: int) -> float:
        """The UNet's strength at a sampling step.

        The prompt is encoded before sampling begins, so steps don't concern the text encoder.
        """
        tag = read.at(steps_done, self.steps)
        active = tag.blocks is None or tag.blocks.active_at(steps_done)
        strength = value_at(tag.unet, steps_done, self.steps)
        return multiplier_of(strength if active else 0.0, tag.blocks, self.family)

    def blocks_of(self, keys: Sequence[str]) -> set[str]:
        """The blocks that some layers are in."""
        blocks = {block_of_key(key, self.family) for key in keys}
        return {block for block in blocks if block is not None}

    def presets(self) -> Presets:
        """All named block weights."""
        return presets_of(self.paths)

    def save_preset(self, name: str, values: str) -> None:
        """Keep block weights under a name; raises UserError."""
        save_preset(preset_folder(self.paths), name, values)

    def lora_path(self, name: str) -> Path | None:
        """The file that a tag of this name loads."""
        on_disk = self.on_disk(name)
        return None if on_disk is None else Path(on_disk.filename)

    def on_disk(self, name: str) -> Any:
        """The host's entry of a LoRA file, by the name that a tag has; None without one."""
        return entry_of(self.networks, name)

    def panel_messages(self) -> Sequence[Message]:
        """What the panel tells about this host."""
        messages = []
        if lbw.is_installed(self.scripts.scripts_data):
            messages.append(
                Message(
                    "sd-webui-lora-block-weight is installed too. Rimo applies the block weights "
                    "of all tags; it leaves a picture's to that extension when only that can read "
                    "them.",
                    level="note",
                )
            )
        if (installation := TrainerEnvironment().installation()) is not None:
            messages.append(installation.message())
        return messages

    def process(self, p: Any) -> None:
        """A picture's prompts are complete: write an X/Y/Z plot's values into them."""
        write_prompts(p, self.presets)

    def _before_ui(self) -> None:
        """The host's scripts are loaded, and its Lora extension is registered."""
        aliases = getattr(self.extra_networks, "extra_network_aliases", None)  # not in ersatzForge
        if aliases is not None and "lyco" not in aliases:  # as in Forge
            lora = self.networks.extra_network_lora
            self.extra_networks.register_extra_network_alias(lora, "lyco")
        add_axes(self.scripts.scripts_data, self.presets, self._names, self._styled)

    def _names(self) -> set[str]:
        return {*self.networks.available_networks, *self.networks.available_network_aliases}

    def _styled(self, p: Any) -> str:
        prompt = p.prompt[0] if isinstance(p.prompt, list) else p.prompt
        return str(self.shared.prompt_styles.apply_styles_to_prompt(prompt, p.styles))

    def activate(
        self, original: Callable[..., Any], extra_network: Any, p: Any, params_list: list[Any]
    ) -> None:
        """Make a prompt's LoRAs the ones that are to act.

        The host calls this with the tags of a batch's first prompt, and again for the second pass.
        """
        self._notice_replaced_files(p, [params.items[0] for params in params_list])
        readings = self._read(p, params_list)
        unreadable = [reading for reading in readings if isinstance(reading, Message)]
        if unreadable and lbw.is_active(p):
            readings = self._leave_to_lbw(params_list, readings)
        kept, tags, messages = [], [], []
        for params, reading in zip(params_list, readings, strict=True):
            if isinstance(reading, Message):
                messages.append(reading)
                continue
            messages += reading.tag.misspelt_options()
            messages += self._foreign_options(reading.tag)
            if reading.tag.blocks is not None:
                self._hide_blocks(params, reading)
            kept.append(params)
            tags.append(reading)
        messages += self.load(lambda: original(extra_network, p, kept), tags)
        write_infotext(p, tags, messages, hires=getattr(p, "is_hr_pass", False))

    def _read(self, p: Any, params_list: Sequence[Any]) -> list[ReadTag | Message]:
        """Each tag's meaning, or why it is left out."""
        written = [self._items(params) for params in params_list]
        plain = is_plain(written)
        presets = DEFAULT_PRESETS if plain else self.presets()
        readings: list[ReadTag | Message] = []
        for params, items in zip(params_list, written, strict=True):
            try:
                read = carried(params.items) or read_tag(items, presets, _seed(p))
                known = self.can_load(read.tag.name)
                readings.append(read if known else not_found(read, self._names()))
            except UserError as error:
                readings.append(left_out(items, error))
        return readings

    def _items(self, params: Any) -> list[str]:
        """What stands between a tag's colons, as another extension left it, if one read it first.

        sd-webui-loractl, for one, keeps the strengths to itself and hands a plain tag on.
        """
        as_written = self.extra_networks.ExtraNetworkParams(items=list(params.items))
        if (params.positional, params.named) == (as_written.positional, as_written.named):
            return list(params.items)
        named = [f"{key}={value}" for key, value in params.named.items()]
        return [*(str(item) for item in params.positional), *named]

    def _foreign_options(self, tag: LoraTag) -> Sequence[Message]:
        """What to tell of options that another extension would read, if it were there."""
        return () if "loractl" in sys.modules else tag.foreign_options()

    def _leave_to_lbw(
        self, params_list: Sequence[Any], readings: Sequence[ReadTag | Message]
    ) -> list[ReadTag | Message]:
        """Hand all block weights over when a tag is one that only the other extension reads."""
        if not any(
            isinstance(reading, Message) and lbw.could_read(params.items)
            for params, reading in zip(params_list, readings, strict=True)
        ):
            return list(readings)
        left: list[ReadTag | Message] = []
        for params, reading in zip(params_list, readings, strict=True):
            if isinstance(reading, ReadTag):
                self._rewrite(params, lbw.items_for(reading))
                left.append(replace(reading, tag=replace(reading.tag, blocks=None), ramped=None))
            elif lbw.could_read(params.items):
                left.append(ReadTag(tuple(params.items), LoraTag(params.items[0])))
            else:
                left.append(reading)
        return left

    def _rewrite(self, params: Any, items: list[str]) -> None:
        vars(params).update(vars(self.extra_networks.ExtraNetworkParams(items=items)))

    def _hide_blocks(self, params: Any, read: ReadTag) -> None:
        """Leave of a tag what the host and other extensions understand as we do."""
        self._rewrite(params, read.host_items())

    def _before_denoising(self, params: Any) -> None:
        # The host counts a step as soon as it is done, but has 0 for none and for one.
        begun = getattr(params.denoiser, "step", 1) > 0
        self.steps = getattr(params, "total_sampling_steps", None) or self.steps
        self.before_step(params.sampling_step + 1 if begun else 0)

    def _notice_replaced_files(self, p: Any, names: Sequence[str]) -> None:
        """Forget a LoRA whose file is another than the last time, such as one trained again."""
        for name in names:
            path = self.lora_path(name)
            try:
                time = 0.0 if path is None else path.stat().st_mtime
            except OSError:
                continue
            if self._file_times.setdefault(name, time) != time:
                self._file_times[name] = time
                self.forget(name)
                for cache in ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc"):
                    encodings = getattr(p, cache, [])
                    encodings[:] = [None] * len(encodings)


def presets_of(paths: Any) -> Presets:
    """All named block weights: built-in ones, sd-webui-lora-block-weight's, Rimo's own.

    `paths` is the host's module that knows its folders.
    """
    roots = dict.fromkeys((paths.script_path, paths.data_path))
    others = [folder for root in roots for folder in lbw_folders(Path(root))]
    return load_presets([*others, preset_folder(paths)])


def preset_folder(paths: Any) -> Path:
    """Where Rimo keeps those that are saved here."""
    return Path(paths.data_path) / "rimo"


def _seed(p: Any) -> int:
    """The seed of a batch's first picture: all pictures of a batch share the merged weights."""
    seeds = getattr(p, "seeds", None) or getattr(p, "all_seeds", None) or [p.seed]
    return int(seeds[0])
