"""Overcomplete's autoencoders as state dicts, whose constructor's arguments are not in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Encoder
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import choice, number, real, whole
from steerlab.bases.formats.files import PICKLES, Source, Weights
from steerlab.bases.formats.format import register
from steerlab.bases.formats.networks import network
from steerlab.bases.greedy import Greedy
from steerlab.bases.norms import Norm, Same
from steerlab.bases.rules import JumpRelu, Relu, Rule, TopK
from steerlab.errors import SteerlabError

OPTIONS = ("method", "k", "threshold", "normalization", "delta")
METHODS = ("relu", "topk", "batchtopk", "jump", "mp")
NESTED = "model_state_dict"  # where training scripts put the state dict in a checkpoint
FREE, ARCHETYPAL = "dictionary._weights", "dictionary.C"


def _by(p: float, largest: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    def divided(rows: torch.Tensor) -> torch.Tensor:
        lengths = rows.norm(p=p, dim=1, keepdim=True)
        return rows / (lengths.amax() if largest else lengths + 1e-8)

    return divided


NORMALISATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "l2": _by(2, largest=False),
    "max_l2": _by(2, largest=True),
    "l1": _by(1, largest=False),
    "max_l1": _by(1, largest=True),
    "identity": lambda rows: rows,
}


@dataclass
class Assumed:
    """Options with a default, and notes of the defaults that were taken."""

    options: Mapping[str, Any]
    notes: list[str]

    def of(self, name: str, default: Any) -> Any:
        """The option, or its default, which is noted."""
        if self.options.get(name) is not None:
            return self.options[name]
        self.notes.append(f"{name}={default!r}, the constructor's default, as the file does not say it")
        return default


def _recognises(source: Source) -> bool:
    name = _file(source)
    if name is None or is_universal(source):
        return False
    names = source.keys(name)
    return _signs(names) or (NESTED in names and _signs(_held(source, name)))


def is_universal(source: Source) -> bool:
    """Whether the one file of weights is named as those of universal autoencoders are."""
    name = _file(source)
    return name is not None and name.startswith("uni_") and "_checkpoint" in name


def _file(source: Source) -> str | None:
    files = source.ending(".safetensors", *PICKLES)
    return files[0] if len(files) == 1 else None


def _held(source: Source, name: str) -> Weights:
    """The state dict of a file, which checkpoints of training hold inside."""
    weights = source.weights(name)
    inner = weights.other.get(NESTED)
    return Weights(inner, name) if isinstance(inner, Mapping) else weights


def _signs(names: Iterable[str]) -> bool:
    return FREE in names or {ARCHETYPAL, "dictionary.W"} <= set(names)


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    return read_state(source, options, Same(), "overcomplete")


def read_state(source: Source, options: Mapping[str, Any], norm: Norm, name: str) -> Dictionary:
    """The dictionary of a state dict.

    Parameters
    ----------
    source : Source
        Holds one file of weights.
    options : mapping
        What the constructor was given; see `OPTIONS`.
    norm : Norm
        What is done to activations first.
    name : str
        The format that asks.
    """
    file = _file(source)
    if file is None:
        raise SteerlabError(f"{source.shown}: name the one file of weights")
    weights = _held(source, file)
    if not _signs(weights):
        raise SteerlabError(f"{file} has neither {FREE} nor {ARCHETYPAL}: no dictionary of this kind")
    assumed = Assumed(options, [])
    rows = _rows(weights, assumed)
    encoder = _encoder(weights, rows, assumed)
    facts = Facts(
        source=name,
        l0=float(encoder.steps) if isinstance(encoder, Greedy) else _count(encoder.rule),
        fingerprint=source.fingerprint(file),
        assumptions=tuple(assumed.notes),
    )
    return Dictionary(decoder=rows, encoder=encoder, norm=norm, facts=facts)


def _count(rule: Rule) -> float | None:
    return float(rule.k) if isinstance(rule, TopK) else None


def _rows(weights: Weights, assumed: Assumed) -> torch.Tensor:
    factor = torch.tensor(weights.number("dictionary.multiplier")).exp() if _scaled(weights) else 1.0
    if FREE not in weights:
        return _archetypal(weights, real({"delta": assumed.of("delta", 1.0)}, "delta", "options")) * factor
    rows = weights.take(FREE, None, None)
    given = assumed.options.get("normalization")
    kind = choice(assumed.of("normalization", "l2"), NORMALISATIONS, "normalization")
    off = float((rows.norm(dim=1) - 1).abs().max())
    # releases that store a multiplier also normalise the stored rows; older ones did so on the way out
    if given is None and off > 0.1 and _scaled(weights):
        raise SteerlabError(
            f"{weights.file}: rows are up to {off:.2g} away from length 1, which the default normalization "
            "'l2' does not leave: give normalization='l2', 'max_l2', 'l1', 'max_l1' or 'identity'"
        )
    return NORMALISATIONS[kind](rows) * factor


def _scaled(weights: Weights) -> bool:
    return "dictionary.multiplier" in weights


def _archetypal(weights: Weights, delta: float) -> torch.Tensor:
    """``W C + Lambda``: mixtures of points, each moved by at most `delta` (arXiv 2502.12892)."""
    points = weights.take(ARCHETYPAL, None, None)
    mix = weights.take("dictionary.W", None, len(points)).relu()
    mix = mix / (mix.sum(dim=-1, keepdim=True) + 1e-8)
    moved = weights.take("dictionary.Relax", len(mix), points.shape[1])
    length = moved.norm(dim=-1, keepdim=True).clamp_min(1e-30)
    return mix @ points + moved * (delta / length).clamp_max(1)


def _encoder(weights: Weights, rows: torch.Tensor, assumed: Assumed) -> Encoder:
    if "Q" in weights:
        raise SteerlabError(
            f"{weights.file} is a quantised autoencoder: its codes jump between a few levels, which no "
            "rule here does"
        )
    method = choice(_method(weights, assumed), METHODS, "method")
    if method == "mp":
        return Greedy(whole({"k": assumed.of("k", 1)}, "k", "options"))
    return network(weights, rows, _rule(method, weights, len(rows), assumed))


def _method(weights: Weights, assumed: Assumed) -> str:
    given = assumed.options.get("method")
    if given == "omp":
        raise SteerlabError(
            "the codes of OMPSAE come from a descent cut short after a few steps: take the atoms with "
            "method='mp', or set another search with sae.inferring(steerlab.Pursuit(k, nonnegative=True))"
        )
    if given is not None:
        return given
    if "thresholds" in weights:
        return "jump"
    if not any(name.startswith("encoder.") for name in weights):
        return assumed.of("method", "mp")
    if assumed.options.get("threshold") is not None:
        return "batchtopk"
    if assumed.options.get("k") is not None:
        return "topk"
    raise SteerlabError(
        f"{weights.file} does not say how its codes become sparse: give method='topk' (with k=...), "
        "'batchtopk' (with threshold=...) or 'relu'"
    )


def _rule(method: str, weights: Weights, atoms: int, assumed: Assumed) -> Rule:
    if method == "relu":
        return Relu()
    if method == "topk":
        return TopK(whole({"k": assumed.of("k", max(atoms // 10, 1))}, "k", "options"))
    if method == "jump":
        return JumpRelu(_from(weights.take("thresholds", atoms).exp()))
    if assumed.options.get("threshold") is None:
        raise SteerlabError(
            f"{weights.file}: the running threshold of a BatchTopKSAE is not in its state dict: give "
            "threshold=..., or method='topk' with k=... for a fixed count"
        )
    return JumpRelu(_from(torch.tensor([number(assumed.options, "threshold", "options")])))


def _from(threshold: torch.Tensor) -> torch.Tensor:
    """The next smaller number, so that "larger than it" is "at least the threshold", as is compared here."""
    return torch.nextafter(threshold, torch.zeros_like(threshold))


register(
    "overcomplete",
    "Overcomplete: a state dict (.pt, .pth, .safetensors)",
    _recognises,
    _read,
    options=OPTIONS,
)
