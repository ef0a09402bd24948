"""What the tensors of one layer of a LoRA file change in the weights of that layer.

The forms are those that kohya's trainer and LyCORIS write, read as the WebUI reads them. A file
is used with a strength by using its scaled form: `scaled` gives tensors whose plain use is the
weighted use, so that a baked file equals it to the last bit.
Sources: Hu et al. 2021 (LoRA), Hyeon-Woo et al. 2022 (LoHa), Edalati et al. 2022 (LoKr), Liu et
al. 2022 (IA3), Liu et al. 2024 (DoRA); LyCORIS, `lycoris/functional`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_rimo.errors import UserError
from lib_rimo.lora.naming import EMBEDDINGS, read_tensor_name
from lib_rimo.text import printable

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Delta:
    """A change to add to a layer's weight and, for some forms, to its bias."""

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class Form:
    """One way of writing a layer's change.

    `rank_in` names the tensor whose first dimension is the rank that alpha is divided by, in order
    of preference; none of them present means that alpha has no effect.
    `change` gives the unscaled change of a weight, `linear_in` the tensors that a form without
    a rank is scaled by: each stands for a factor of the change. A form that `reads_base` depends
    on the base model's weight; one that is not linear has no scale either.
    """

    name: str
    label: str
    needs: tuple[frozenset[str], ...]
    change: Callable[[Tensors, Tensor, int | None], Tensor]
    rank_in: tuple[str, ...] = ()
    linear_in: tuple[str, ...] = ()
    bias_in: str = ""
    reads_base: bool = False
    is_linear: bool = True
    scaled_by_scale: bool = False

    def matches(self, tensors: Tensors) -> bool:
        """Whether a layer with these tensors is written in this form."""
        return any(needed <= tensors.keys() for needed in self.needs)

    def rank(self, tensors: Tensors) -> int | None:
        """The rank of a layer, None for forms and layers that have none."""
        return next((tensors[name].shape[0] for name in self.rank_in if name in tensors), None)


def split_modules(tensors: Tensors) -> dict[str, dict[str, Tensor]]:
    """Group a file's tensors: key of the layer -> name of the part -> tensor, in kohya's names.

    Embeddings beside the LoRA are left out (`embeddings_in`).
    """
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        key, part = read_tensor_name(name)
        if key != EMBEDDINGS:
            modules.setdefault(key, {})[part] = tensor
    return modules


def embeddings_in(tensors: Tensors) -> dict[str, dict[str, Tensor]]:
    """The embeddings that a file carries beside its LoRA: name -> the tensors as they are named."""
    embeddings: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == EMBEDDINGS:
            embeddings.setdefault(rest.partition(".")[0], {})[name] = tensor
    return embeddings


def form_of(tensors: Tensors) -> Form:
    """The form that a layer's tensors are in; UserError for an unknown one."""
    for form in FORMS:
        if form.matches(tensors):
            return form
    raise UserError(
        "a layer is in no known form ({tensors}); known are LoRA, LoHa, LoKr, IA3, DoRA, OFT, "
        "BOFT, GLoRA, norm and full differences.",
        tensors=printable(", ".join(sorted(tensors))),
    )


def scale_of(tensors: Tensors) -> float:
    """What a layer's product is multiplied by: alpha / rank, 1 where either is missing."""
    form = form_of(tensors)
    if not form.is_linear:
        return 1.0
    if "scale" in tensors:
        return float(tensors["scale"].item())
    rank = form.rank(tensors)
    if rank is None or "alpha" not in tensors:
        return 1.0
    return float(tensors["alpha"].item()) / rank


def weight_delta(tensors: Tensors, base: Tensor, *, dyn: int | None = None) -> Tensor:
    """The change of a layer's weight, in float32 and in the weight's shape.

    `tensors` are those of one layer, `base` is its present weight (out, in[, kh, kw]), which DoRA
    and IA3 depend on. `dyn` keeps only that many ranks of a plain LoRA.
    """
    form = form_of(tensors)
    tensors = {name: tensor.to(base.device).float() for name, tensor in tensors.items()}
    base = base.float()
    change = form.change(tensors, base, dyn).reshape(base.shape) * scale_of(tensors)
    if "dora_scale" in tensors:
        return _decomposed(base + change, tensors["dora_scale"]) - base
    return change


def layer_delta(tensors: Tensors, base: Tensor, *, dyn: int | None = None) -> Delta:
    """The change of a layer's weight together with that of its bias, if there is one."""
    bias = tensors.get(form_of(tensors).bias_in)
    change = weight_delta(tensors, base, dyn=dyn)
    return Delta(change, None if bias is None else bias.to(base.device).float())


def is_scalable(tensors: Tensors, strength: float) -> bool:
    """Whether `scaled` can do without the base model's weight: DoRA, OFT only all or nothing."""
    return _is_linear(tensors) or strength in (0.0, 1.0)


def _is_linear(tensors: Tensors) -> bool:
    return "dora_scale" not in tensors and form_of(tensors).is_linear


def scaled(tensors: Tensors, strength: float, base: Tensor | None = None) -> dict[str, Tensor]:
    """Tensors of one layer whose plain use is the use of `tensors` with this strength.

    Alpha takes the strength up where the form has one, so nothing else is rounded; a DoRA or an
    OFT becomes the full difference to `base`, the base model's weight, as a direction or a turn
    cannot be scaled. Raises UserError for one of them without `base`.
    """
    tensors = dict(tensors)
    if strength == 1.0:
        return tensors
    form = form_of(tensors)
    if not _is_linear(tensors):
        if base is None:
            kind = "DoRA" if "dora_scale" in tensors else form.label
            raise UserError(
                "A layer in {form} can only be weighted with its base model: give --model.",
                form=kind,
            )
        return {"diff": weight_delta(tensors, base) * strength}
    if form.bias_in in tensors:
        tensors[form.bias_in] = tensors[form.bias_in].float() * strength
    rank = form.rank(tensors)
    if "scale" in tensors or form.scaled_by_scale:
        tensors["scale"] = _times(tensors.get("scale", torch.tensor(1.0)), strength)
    elif rank is not None:
        alpha = tensors.get("alpha", torch.tensor(float(rank)))
        tensors["alpha"] = _times(alpha, strength)
    else:
        name = next(name for name in form.linear_in if name in tensors)
        tensors[name] = tensors[name].float() * strength
    return tensors


def _times(number: Tensor, strength: float) -> Tensor:
    return torch.tensor(float(number.item()) * strength, dtype=torch.float32)


# -- forms --------------------------------------------------------------------------------------


def _product(up: Tensor, down: Tensor) -> Tensor:
    """(out, rank[, 1, 1]) times (rank, in[, kh, kw]) as matrices."""
    return up.flatten(1) @ down.flatten(1)


def _tucker(core: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """A Tucker decomposition's weight (out, in, kh, kw).

    `core` is (rank, rank, kh, kw), `up` (rank, out) and `down` (rank, in).
    """
    weight: Tensor = torch.einsum("nmkl,no,mi->oikl", core, up, down)
    return weight


def _lora(tensors: Tensors, base: Tensor, dyn: int | None) -> Tensor:
    up, down = tensors["lora_up.weight"], tensors["lora_down.weight"]
    if "lora_mid.weight" in tensors:
        return _tucker(tensors["lora_mid.weight"], up.flatten(1).T, down.flatten(1))
    return _product(up[:, :dyn], down[:dyn])


def _hadamard_factor(tensors: Tensors, number: int) -> Tensor:
    a, b = tensors[f"hada_w{number}_a"], tensors[f"hada_w{number}_b"]
    core = tensors.get(f"hada_t{number}")
    return _product(a, b) if core is None else _tucker(core, a, b).flatten(1)


def _loha(tensors: Tensors, base: Tensor, dyn: int | None) -> Tensor:
    return _hadamard_factor(tensors, 1) * _hadamard_factor(tensors, 2)


def _kronecker_factor(tensors: Tensors, number: int) -> Tensor:
    whole = tensors.get(f"lokr_w{number}")
    if whole is not None:
        return whole
    a, b = tensors[f"lokr_w{number}_a"], tensors[f"lokr_w{number}_b"]
    core = tensors.get(f"lokr_t{number}")
    return a @ b if core is None else _tucker(core, a, b)


def _lokr(tensors: Tensors, base: Tensor, dyn: int | None) -> Tensor:
    first, second = _kronecker_factor(tensors, 1), _kronecker_factor(tensors, 2)
    if second.ndim == 2 and base.ndim == 4:
        second = second.reshape(*second.shape[:1], -1, *base.shape[2:])
    while first.ndim < second.ndim:
        first = first.unsqueeze(-1)
    return torch.kron(first, second.contiguous())


def _ia3(tensors: Tensors, base: Tensor, dyn: int | None) -> Tensor:
    factors = tensors["weight"].flatten()
    if bool(tensors["on_input"]):
        return base * factors.reshape(1, -1, *[1] * (base.ndim - 2))
    return base * factors.reshape(-1, *[1] * (base.ndim - 1))


def _glora(tensors: Tensors, base: Tensor, dyn: int | None) -> Tensor:
    """`W @ first @ second + up @ down`, W being the base model's weight.

    LyCORIS wrote the matrices the other way round at first; of those the WebUI leaves alpha out,
    and it cannot use the later ones.
    """
    first, second = tensors["a1.weight"].flatten(1), tensors["a2.weight"].flatten(1)
    up, down = tensors["b1.weight"], tensors["b2.weight"]
    scale = 1.0
    if second.shape[0] == base.shape[1]:
        first, second, up, down = second, first, down, up
    elif "alpha" in tensors:
        scale = float(tensors["alpha"].item()) / second.shape[0]
    inner = torch.einsum("oi...,ir->or...", base, first)
    inner = torch.einsum("or...,rj->oj...", inner, second)
    return (_product(up, down).reshape(base.shape) + inner) * scale


def _oft(tensors: Tensors, base: Tensor, dyn: int | None) -> Tensor:
    """The rows of the weight turned, block by block; in BOFT several times, ever further apart."""
    if "oft_diag" in tensors:  # LyCORIS' first files: the turns as they are
        turns = tensors["oft_diag"]
    else:
        turns = _cayley(tensors["oft_blocks"], tensors.get("alpha"), base.shape[0])
    turned = base.flatten(1)  # (out, in)
    if turns.ndim == 3:  # (blocks, size, size)
        turned = _turned(turns, turned)
    else:  # (stages, blocks, size, size)
        for stage, stage_turns in enumerate(turns):
            apart = 2**stage * (turns.shape[-1] // 2)
            groups = turned.reshape(-1, 2, apart, turned.shape[1])  # (., which half, place, in)
            mixed = _turned_stage(stage_turns, groups.transpose(1, 2).reshape(turned.shape))
            groups = mixed.reshape(-1, apart, 2, turned.shape[1])
            turned = groups.transpose(1, 2).reshape(turned.shape)
    if "rescale" in tensors:
        turned = turned * tensors["rescale"].reshape(-1, 1)
    return turned.reshape(base.shape) - base


def _turned(turns: Tensor, weight: Tensor) -> Tensor:
    """(blocks, size, size) times the rows of (blocks * size, in)."""
    blocks = weight.reshape(turns.shape[0], turns.shape[1], weight.shape[1])
    result: Tensor = torch.einsum("knm,kni->kmi", turns, blocks)
    return result.reshape(weight.shape)


def _turned_stage(turns: Tensor, weight: Tensor) -> Tensor:
    """As `_turned`, with the turns the other way round, as BOFT has them."""
    return _turned(turns.transpose(-1, -2), weight)


def _cayley(blocks: Tensor, limit: Tensor | None, out: int) -> Tensor:
    """The turns that skew-symmetric matrices stand for; `limit` is their longest norm / `out`."""
    skew = blocks - blocks.transpose(-1, -2)
    if limit is not None and float(limit.item()) != 0:
        norm = skew.norm()
        longest = float(limit.item()) * out
        skew = skew * ((norm.clamp(max=longest) + 1e-8) / (norm + 1e-8))
    identity = torch.eye(skew.shape[-1], device=skew.device)
    turns: Tensor = (identity + skew) @ torch.linalg.inv(identity - skew)
    return turns


def _full(tensors: Tensors, base: Tensor, dyn: int | None) -> Tensor:
    return tensors["diff"]


def _norm(tensors: Tensors, base: Tensor, dyn: int | None) -> Tensor:
    return tensors["w_norm"]


def _decomposed(weight: Tensor, magnitude: Tensor) -> Tensor:
    """DoRA: the direction of `weight` with a learnt length.

    The length is that of the weights of an input, or of an output in later files, as the shape of
    `magnitude` tells: (1, in[, 1, 1]) or (out, 1[, 1, 1]).
    """
    kept = 0 if magnitude.shape[0] == weight.shape[0] and weight.shape[0] != 1 else 1
    others = [dim for dim in range(weight.ndim) if dim != kept]
    length: Tensor = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
    return weight * (magnitude.reshape(length.shape) / length)


def _needs(*names: str) -> frozenset[str]:
    return frozenset(names)


FORMS = (
    Form(
        "lora",
        "LoRA",
        (_needs("lora_up.weight", "lora_down.weight"),),
        _lora,
        rank_in=("lora_down.weight",),
    ),
    Form(
        "loha",
        "LoHa",
        (_needs("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),),
        _loha,
        rank_in=("hada_w1_b",),
    ),
    Form(
        "lokr",
        "LoKr",
        (
            _needs("lokr_w1", "lokr_w2"),
            _needs("lokr_w1", "lokr_w2_a", "lokr_w2_b"),
            _needs("lokr_w1_a", "lokr_w1_b", "lokr_w2"),
            _needs("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"),
        ),
        _lokr,
        rank_in=("lokr_w2_b", "lokr_w1_b"),
        linear_in=("lokr_w1",),
    ),
    Form(
        "ia3", "IA3", (_needs("weight", "on_input"),), _ia3, linear_in=("weight",), reads_base=True
    ),
    Form(
        "glora",
        "GLoRA",
        (_needs("a1.weight", "a2.weight", "b1.weight", "b2.weight"),),
        _glora,
        reads_base=True,
        scaled_by_scale=True,
    ),
    Form(
        "oft",
        "OFT",
        (_needs("oft_blocks"), _needs("oft_diag")),
        _oft,
        reads_base=True,
        is_linear=False,
    ),
    Form("full", "full", (_needs("diff"),), _full, linear_in=("diff",), bias_in="diff_b"),
    Form("norm", "norm", (_needs("w_norm"),), _norm, linear_in=("w_norm",), bias_in="b_norm"),
)


def network_type(modules: Mapping[str, Tensors]) -> str:
    """The name of what a file holds: `LoRA`, `LoCon` (with 3x3 convolutions), `LoHa`, ..."""
    names = {form_of(tensors).name for tensors in modules.values()} - {"norm"}
    if any("dora_scale" in tensors for tensors in modules.values()):
        return "DoRA"
    if names == {"lora"}:
        is_locon = any(
            "lora_mid.weight" in tensors or tensors["lora_down.weight"].shape[2:] > (1, 1)
            for tensors in modules.values()
            if "lora_down.weight" in tensors
        )
        return "LoCon" if is_locon else "LoRA"
    labels = {form.name: form.label for form in FORMS}
    if any(
        tensors["oft_blocks"].ndim == 4 for tensors in modules.values() if "oft_blocks" in tensors
    ):
        labels["oft"] = "BOFT"
    return " + ".join(sorted(labels[name] for name in names)) or "norm"
