"""Has a UNet say, module by module, what another says: least squares in place of a long training.

One pass over noisy latents, all at once. As a module's turn comes, its last layer (which is linear,
and whose inputs do not depend on it) is solved for: what it would have to add to the rest of the
module's output to give the other UNet's output there. What it then gives goes on to the next, so
each makes up for what those before it could not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

ROWS = 40_000  # positions that a layer is solved with, at most
STAY = 1e-3  # of the inputs' mean power: how much a layer's weights hold on to what they are


@dataclass
class Imitation:
    """What was left to explain of each module's output, as a share of its variance."""

    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)


@torch.no_grad()
def imitate(
    unet: UNet2DConditionModel,
    inputs: Mapping[str, Any],
    source: UNet2DConditionModel,
    source_inputs: Mapping[str, Any],
    pairs: Mapping[str, str],
) -> Imitation:
    """Solve for the last layer of each module of `unet` in `pairs`, (its name, the source's).

    Both UNets get the same latents and timesteps among their inputs.
    """
    wanted: dict[str, Tensor] = {}
    hooks = []
    for name in dict.fromkeys(pairs.values()):

        def note(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
            wanted[name] = _tensor(output).clone()

        hooks.append(source.get_submodule(name).register_forward_hook(note))
    source(**source_inputs)
    for hook in hooks:
        hook.remove()

    found, hooks = Imitation(), []
    for name, source_name in pairs.items():
        module = unet.get_submodule(name)
        layer = _last_layer(module)
        seen: dict[str, Tensor] = {}

        def see(_: nn.Module, given: Any, output: Tensor, seen: dict[str, Tensor] = seen) -> None:
            seen["inputs"], seen["output"] = given[0], output

        def solve(
            _: nn.Module,
            __: Any,
            output: Any,
            layer: nn.Conv2d | nn.Linear = layer,
            seen: dict[str, Tensor] = seen,
            name: str = name,
            source_name: str = source_name,
        ) -> Any:
            target, given = wanted[source_name], _tensor(output)
            rest = given - _as_image(seen["output"], given)
            variance = target.var(dim=(0, 2, 3)).mean()
            found.before[name] = float((target - given).square().mean() / variance)
            _solve(layer, seen["inputs"], _as_layer(target - rest, seen["output"]))
            mended = rest + _as_image(layer.forward(seen["inputs"]), given)
            found.after[name] = float((target - mended).square().mean() / variance)
            seen.clear()
            return (mended,) if isinstance(output, tuple) else _like(output, mended)

        hooks += [layer.register_forward_hook(see), module.register_forward_hook(solve)]
    unet(**inputs)
    for hook in hooks:
        hook.remove()
    return found


def _last_layer(module: nn.Module) -> nn.Conv2d | nn.Linear:
    """The layer that a residual block, attention, or change of size ends with, or the module."""
    for name in ("conv2", "proj_out", "conv"):
        if hasattr(module, name):
            layer: nn.Conv2d | nn.Linear = getattr(module, name)
            return layer
    raise TypeError(f"{type(module).__name__} has no last layer that is known")


def _tensor(output: Any) -> Tensor:
    """(B, C, h, w) of what a module gives, which may be a tuple."""
    return output if isinstance(output, Tensor) else output[0]


def _like(output: Any, tensor: Tensor) -> Any:
    if isinstance(output, Tensor):
        return tensor
    output.sample = tensor
    return output


def _as_image(output: Tensor, image: Tensor) -> Tensor:
    """A layer's output in the form (B, C, h, w) of `image`."""
    if output.dim() == 4:
        return output
    return output.transpose(1, 2).reshape(image.shape)  # (B, h w, C)


def _as_layer(image: Tensor, output: Tensor) -> Tensor:
    """(B, C, h, w) in the form of a layer's output."""
    return image if output.dim() == 4 else image.flatten(2).transpose(1, 2)


def _solve(layer: nn.Conv2d | nn.Linear, inputs: Tensor, wanted: Tensor) -> None:
    """The weights with which the layer comes nearest to what is wanted, from where they stand."""
    if isinstance(layer, nn.Conv2d):
        positions = wanted.shape[2] * wanted.shape[3]
        count = max(1, ROWS // positions)  # pictures
        inputs, wanted = inputs[:count], wanted[:count]
        missing = (wanted - layer.forward(inputs)).flatten(2).transpose(1, 2).flatten(0, 1)
        kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
        columns = functional.unfold(inputs, kernel, stride=stride, padding=padding)  # type: ignore[arg-type]
        rows = columns.transpose(1, 2).flatten(0, 1)
    else:
        count = max(1, ROWS // wanted.shape[1])
        inputs, wanted = inputs[:count], wanted[:count]
        missing = (wanted - layer.forward(inputs)).flatten(0, 1)
        rows = inputs.flatten(0, 1)
    rows = functional.pad(rows, (0, 1), value=1.0)  # the bias
    power = rows.T @ rows
    power += torch.eye(len(power)) * power.diagonal().mean() * STAY
    change = torch.linalg.solve(power, rows.T @ missing)
    layer.weight += change[:-1].T.reshape(layer.weight.shape)
    if layer.bias is not None:
        layer.bias += change[-1]
