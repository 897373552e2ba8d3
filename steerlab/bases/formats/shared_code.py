"""Crosscoders of the hub fork of dictionary_learning: several activations, one code."""

from __future__ import annotations

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.formats.config import choice, whole
from steerlab.bases.formats.files import Weights
from steerlab.bases.norms import Norm, Same, Standardise
from steerlab.bases.rules import JumpRelu, Relu, Rule, TopK
from steerlab.errors import SteerlabError

# What a code is multiplied by before it is compared with a threshold, from rows ``[member, atom, dim]``.
NORMALISATIONS = {
    1: lambda rows: rows.norm(dim=-1).sum(dim=0),
    2: lambda rows: rows.norm(dim=(0, 2)),
    3: lambda rows: rows.norm(dim=(0, 2)) + 0.1 * rows.norm(dim=-1).sum(dim=0),
    4: lambda rows: torch.ones(rows.shape[1]),
}
DECOUPLED = 5


def build(weights: Weights, dict_class: str) -> Dictionary:
    """One dictionary of the members' activations end to end, ``[..., member, dim]``.

    A code sums over all members, ``z = relu(sum_m x_m W_m + b)``, so that none of them has a dictionary of
    its own that gives the same codes. Atom ``k`` writes ``sae[k].unflatten(0, (members, dim))[m]`` into
    member ``m``.

    Parameters
    ----------
    weights : Weights
        ``encoder.weight [member, dim, atom]``, ``decoder.weight [member, atom, dim]`` and biases.
    dict_class : str
        ``CrossCoder`` or ``BatchTopKCrossCoder``.
    """
    weight = weights.take("encoder.weight", None, None, None)
    members, dim, atoms = weight.shape
    rows = weights.take("decoder.weight", None, atoms, dim)
    if len(rows) != members:
        raise SteerlabError(
            f"{weights.file} reads {members} activations and writes {len(rows)}: an edit of its codes has no "
            "activation of its own to go into"
        )
    rule = _rule(weights, rows) if dict_class.startswith("BatchTopK") else Relu()
    encoder = Linear(weight.flatten(0, 1), weights.take("encoder.bias", atoms), rule)
    return Dictionary(
        decoder=rows.transpose(0, 1).flatten(1).contiguous(),
        encoder=encoder,
        bias=weights.take("decoder.bias", members, dim).flatten(),
        norm=_norm(weights, (members, dim)),
    )


def _rule(weights: Weights, rows: torch.Tensor) -> Rule:
    kind = int(weights.number("code_normalization_id")) if "code_normalization_id" in weights else 1
    if kind == DECOUPLED:
        raise SteerlabError(f"{weights.file} is decoupled: its codes differ from member to member")
    known = choice(str(kind), map(str, NORMALISATIONS), f"{weights.file}: code_normalization_id")
    factor = NORMALISATIONS[int(known)](rows)
    threshold = weights.number("threshold") if "threshold" in weights else -1.0
    if threshold >= 0:
        return JumpRelu(threshold / factor.clamp_min(1e-30))
    return TopK(whole({"k": weights.number("k")}, "k", weights.file), rank_by=factor)


def _norm(weights: Weights, size: tuple[int, int]) -> Norm:
    if "activation_mean" not in weights or bool(weights.tensors["activation_mean"].isnan().any()):
        return Same()
    mean, std = weights.take("activation_mean", *size), weights.take("activation_std", *size)
    scale = weights.take("activation_global_scale", size[0])
    # scales of exactly 1 are stored where each dimension is divided by its own deviation
    each = std + 1e-8 if bool((scale == 1).all()) else (1 / scale)[:, None].expand(size)
    return Standardise(mean.flatten(), each.flatten().contiguous())
