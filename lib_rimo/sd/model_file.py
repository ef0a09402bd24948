"""Model files to read tensors from, `.safetensors` or pickled, and the `.yaml` beside them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lib_rimo.errors import UserError
from lib_rimo.files import file_hash
from lib_rimo.sd.family import modern_key
from lib_rimo.sd.ldm_layout import Layout

MAPPED = 2**28
"""Bytes of a file that stay mapped into memory while it is read."""


class TensorFile(Protocol):
    """A file of tensors, read one at a time."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]

    def get(self, key: str) -> Tensor:
        """The tensor under this key."""

    def __enter__(self) -> "TensorFile": ...

    def __exit__(self, *_: object) -> None: ...


class _SafetensorsFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()
        self.metadata: Mapping[str, str] = self._file.metadata() or {}
        self._keys = {modern_key(key): key for key in self._file.keys()}  # noqa: SIM118
        self.shapes: Mapping[str, tuple[int, ...]] = {
            key: tuple(self._file.get_slice(stored).get_shape())
            for key, stored in self._keys.items()
        }

    def _open(self) -> None:
        self._file = cast(Any, safe_open(self._path, framework="pt"))
        self._read = 0

    def get(self, key: str) -> Tensor:
        # What was read stays mapped into memory until the file is closed.
        if self._read > MAPPED:
            self._open()
        tensor: Tensor = self._file.get_tensor(self._keys[key])
        self._read += tensor.nbytes
        return tensor

    def __enter__(self) -> "_SafetensorsFile":
        return self

    def __exit__(self, *_: object) -> None:
        del self._file


FIRST_SAFE_TORCH = (2, 6)
"""Before, `weights_only` could be got around (CVE-2025-32434); WebUIs bring their own PyTorch."""


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


class _PickledFile:
    metadata: Mapping[str, str] = {}

    def __init__(self, path: Path) -> None:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        content = content.get("state_dict", content)
        self._tensors = {
            modern_key(key): tensor for key, tensor in content.items() if isinstance(tensor, Tensor)
        }
        self.shapes: Mapping[str, tuple[int, ...]] = {
            key: tuple(tensor.shape) for key, tensor in self._tensors.items()
        }

    def get(self, key: str) -> Tensor:
        return self._tensors[key]

    def __enter__(self) -> "_PickledFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._tensors.clear()


def open_tensors(path: Path) -> TensorFile:
    """Open a model file to read its tensors. Raises UserError for what cannot be read."""
    if not path.is_file():
        raise UserError(
            "There is no model file {file}; give the path of a .safetensors file.", file=path
        )
    if path.suffix == ".safetensors":
        try:
            return _SafetensorsFile(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(
                "{file} is damaged or not a safetensors file ({error}); download it again.",
                file=path.name,
                error=error,
            ) from error
    if path.suffix not in (".ckpt", ".pt", ".pth", ".bin"):
        raise UserError(
            "{file} is not a model file; give a .safetensors or .ckpt file.", file=path.name
        )
    if _release(torch.__version__) < FIRST_SAFE_TORCH:
        raise UserError(
            "{file} is a pickle, and PyTorch {version} can be made to run code that stands in one; "
            "use the model's .safetensors version, or PyTorch {least} or newer.",
            file=path.name,
            version=torch.__version__,
            least=".".join(map(str, FIRST_SAFE_TORCH)),
        )
    try:
        return _PickledFile(path)
    except Exception as error:  # unpickling foreign bytes can raise anything
        raise UserError(
            "{file} cannot be read without running the code it may contain, so it was not "
            "opened; use the model's .safetensors version.",
            file=path.name,
        ) from error


def model_hash(path: Path) -> str:
    """Stands for a model as it is read: its file, and the `.yaml` beside it if there is one."""
    return file_hash(path) + file_hash(_yaml_beside(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """`model.params` of the `.yaml` beside the file, empty if there is none."""
    beside = _yaml_beside(path)
    if not beside.is_file():
        return {}
    try:
        content = yaml.safe_load(beside.read_text("utf-8"))
        params = content["model"]["params"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(
            "{file} is not an LDM configuration (model.params is missing); mend it or move it"
            " away.",
            file=beside.name,
        ) from error
    return dict(params)


def _yaml_beside(path: Path) -> Path:
    return path.with_suffix(".yaml")


class Storage(NamedTuple):
    """How the tensors of a model are kept."""

    device: str | torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format
    """Of convolutions' weights; reordering costs nothing while the type is changed anyway."""

    def of(self, tensor: Tensor) -> Tensor:
        """A copy of the tensor, kept so."""
        is_convolution = tensor.ndim == 4
        empty = torch.empty_like(
            tensor,
            device=self.device,
            dtype=self.dtype,
            memory_format=self.memory_format if is_convolution else torch.contiguous_format,
        )
        return empty.copy_(tensor)


def fill(model: nn.Module, layout: Layout, file: TensorFile, storage: Storage) -> None:
    """Give a model on the meta device its tensors, copied out of the file one at a time."""
    tensors: dict[str, Tensor] = {}
    for key, empty in model.state_dict().items():
        source = layout[key]
        if source.key not in file.shapes:
            raise UserError(
                "The model file lacks {key}; it is incomplete or altered.", key=source.key
            )
        tensor = source.read(file.get, empty.shape)
        if tensor.shape != empty.shape:
            raise UserError(
                "{key} of the model file has shape {shape} where {expected} was expected; it is of"
                " an unknown architecture.",
                key=source.key,
                shape=tuple(tensor.shape),
                expected=tuple(empty.shape),
            )
        tensors[key] = storage.of(tensor)
    model.load_state_dict(tensors, assign=True)
    model.requires_grad_(False).eval()
