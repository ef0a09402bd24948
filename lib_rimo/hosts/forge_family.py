"""What Forge and its forks have in common beyond other WebUIs: how they treat LoRA files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_rimo.hosts.activation import ReadTag
from lib_rimo.hosts.lora_files import can_be_read, find_file, forget_contents
from lib_rimo.hosts.webui import WebUI
from lib_rimo.messages import Message


class ForgeFamily(WebUI):
    """An adapter's common part for Forge and its forks."""

    def __init__(self) -> None:
        super().__init__()
        self._readable: dict[Path, float] = {}  # files that could be opened, and their times
        self._loading: Sequence[ReadTag] = ()  # while the host loads them

    def load_originally(self, original: Callable[[], None], tags: Sequence[ReadTag]) -> None:
        """Let the host load the LoRAs of `tags`; meanwhile its calls can be told apart by them."""
        self._loading = tags
        try:
            original()
        finally:
            self._loading = ()

    def _hide_blocks(self, params: Any, read: ReadTag) -> None:
        self._rewrite(params, kept(read).host_items(read))

    def tags_loaded(self, *asked: Sequence[Any]) -> Iterator[tuple[int, ReadTag]]:
        """(place, tag) of each LoRA that the host loads, which leaves out some of strength 0.

        `asked`: names, text encoder's and UNet's strengths, as the host has read them of the tags.
        """
        waiting = list(self._loading)
        for index, one in enumerate(zip(*asked, strict=True)):
            for read in waiting:
                tag = kept(read).tag
                if (tag.name, tag.te, tag.unet) == one:
                    waiting.remove(read)
                    yield index, read
                    break

    def uninstall(self) -> None:
        """Put the host's own functions back, and let it load anew what knows blocks."""
        super().uninstall()
        self._let_load_anew()

    def can_load(self, name: str) -> bool:
        """Whether the file is there and can be read: if not, the host would drop all LoRAs."""
        if self.on_disk(name) is None:
            find_file(self.networks, name)
        path = self.lora_path(name)
        if path is None or not path.is_file():
            return False
        time = path.stat().st_mtime
        if path.suffix == ".safetensors" and self._readable.get(path) != time:
            if not can_be_read(path):
                return False
            self._readable[path] = time
        return True

    def forget(self, name: str) -> None:
        """Drop what the host remembers of a LoRA whose file has been replaced."""
        forget_contents(self.networks)
        self.networks.list_available_networks()  # reads metadata and hash anew
        self._let_load_anew()

    def _let_load_anew(self) -> None:
        """Let the next picture's LoRAs be loaded, be they those of the last one or not."""
        self.shared.sd_model.current_lora_hash = ""
        if hasattr(self.shared, "cached_lora_hash"):  # Forge Classic's
            vars(self.shared)["cached_lora_hash"] = None

    def messages_on_ranks(self, tags: Sequence[ReadTag]) -> list[Message]:
        """That the host takes all ranks of a LoRA."""
        return [
            Message(
                "{name}: Forge has no dyn=, so all of the LoRA's ranks act.",
                name=read.tag.name,
                level="warning",
            )
            for read in tags
            if read.tag.dyn is not None
        ]


def kept(read: ReadTag) -> ReadTag:
    """A tag with a strength for the host: Forge Classic and ersatzForge leave out a 0."""
    if read.has_steps and read.tag.te == read.tag.unet == 0:
        return replace(read, tag=replace(read.tag, unet=1.0))
    return read


def patcher_of(model: Any) -> Any:
    """What holds the patches of a UNet or a text encoder."""
    return getattr(model, "patcher", model)
