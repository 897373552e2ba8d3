"""Whether a dictionary fits activations as it was read: its figures, and those of other readings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Gated, Linear
from steerlab.bases.norms import ConstantLength, LayerNorm, Same, Standardise
from steerlab.bases.rules import JumpRelu
from steerlab.errors import SteerlabError

ROWS = 512  # so many activations are encoded at once
FAR = 2.0  # how far, as a factor, L0 may lie from what is advertised
NEAR_ONE = 1.1  # factors closer to 1 than this make no other reading


@dataclass(frozen=True)
class Hypothesis:
    """Another reading of the same file.

    Parameters
    ----------
    name : str
        What would be different.
    r2, l0 : float
        Its share of variance explained and its codes an entry.
    """

    name: str
    r2: float
    l0: float


@dataclass(frozen=True)
class Probe:
    """How a dictionary does on activations; `warnings` say what speaks against the way it was read.

    Parameters
    ----------
    r2 : float
        ``1 - sum |x - x_hat|^2 / sum |x - mean|^2``, the mean taken of every dimension.
    l2_ratio : float
        Mean of ``|x_hat| / |x|``.
    l0 : float
        Mean number of codes that are not 0.
    advertised_l0 : float, optional
        What its source says of the same.
    alignment : float, optional
        Median cosine of the columns of the encoder and the rows of the decoder, where both are of one site.
    shuffled_r2 : float
        ``r2`` after a permutation of the decoder's rows.
    count : int
        How many activations were seen.
    hypotheses : tuple of Hypothesis
        Other readings of the file.
    warnings : tuple of str
        Sentences; none where nothing is suspicious.
    """

    r2: float
    l2_ratio: float
    l0: float
    advertised_l0: float | None
    alignment: float | None
    shuffled_r2: float
    count: int
    hypotheses: tuple[Hypothesis, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        advertised = "" if self.advertised_l0 is None else f" (advertised {self.advertised_l0:g})"
        aligned = "" if self.alignment is None else f", encoder along decoder {self.alignment:.2f}"
        lines = [
            f"{self.count} activations: R2 {self.r2:.3f} (shuffled {self.shuffled_r2:.3f}), "
            f"L0 {self.l0:.1f}{advertised}, length {self.l2_ratio:.2f} of the original{aligned}",
            *(f"  if {h.name}: R2 {h.r2:.3f}, L0 {h.l0:.1f}" for h in self.hypotheses),
            *(f"  warning: {sentence}" for sentence in self.warnings),
        ]
        return "\n".join(lines)


def probe(dictionary: Dictionary, activations: torch.Tensor, *, target: torch.Tensor | None = None) -> Probe:
    """Measure a dictionary on a few thousand activations, as it was read and as it might have been.

    What files leave open (which way a square matrix lies, whether a bias is subtracted first, how inputs are
    normalised, in which units a threshold is) shows in R2 and L0. The checks are our own.

    Parameters
    ----------
    dictionary : Dictionary
        The one in doubt.
    activations : Tensor
        ``[..., dim]`` of the site that it reads.
    target : Tensor, optional
        ``[..., dim]`` of the site that a transcoder writes, entry by entry.
    """
    x = dictionary.flattened(activations.detach())
    x = x.reshape(-1, x.shape[-1])
    if (target is None) == dictionary.is_transcoder:
        word = "needs target=, what it should write" if target is None else "writes what it reads: no target"
        raise SteerlabError(f"{dictionary!r} {word}")
    y = x if target is None else target.detach().reshape(-1, target.shape[-1])
    if len(x) < 2 or len(x) != len(y) or y.shape[-1] != dictionary.dim:
        raise SteerlabError(f"activations {list(x.shape)} and targets {list(y.shape)} cannot be compared")
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise SteerlabError("the activations hold entries that are NaN or infinite")
    r2, ratio, l0 = _measure(dictionary, x, y)
    order = torch.randperm(len(dictionary), generator=torch.Generator().manual_seed(0))
    order = order.to(dictionary.decoder.device)
    shuffled = dataclasses.replace(dictionary, decoder=dictionary.decoder[order])
    found = Probe(
        r2=r2,
        l2_ratio=ratio,
        l0=l0,
        advertised_l0=dictionary.facts.l0,
        alignment=_alignment(dictionary),
        shuffled_r2=_measure(shuffled, x, y)[0],
        count=len(x),
        hypotheses=tuple(
            Hypothesis(name, *_measure(other, x, y)[::2]) for name, other in _others(dictionary, x, y)
        ),
    )
    return dataclasses.replace(found, warnings=tuple(_warnings(found)))


def _measure(dictionary: Dictionary, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float, float]:
    """R2, the ratio of lengths and L0."""
    missed = active = ratio = 0.0
    for rows in torch.arange(len(x), device=x.device).split(ROWS):
        codes = dictionary.encode(x[rows])
        guess, truth = dictionary.decode(codes, x[rows]).double(), y[rows].double()
        missed += float((truth - guess).square().sum())
        active += float((codes != 0).sum())
        ratio += float((guess.norm(dim=-1) / truth.norm(dim=-1).clamp_min(1e-30)).sum())
    spread = float((y.double() - y.double().mean(0)).square().sum())
    if spread == 0:
        raise SteerlabError("all activations are the same: there is nothing to explain")
    return 1 - missed / spread, ratio / len(x), active / len(x)


def _alignment(dictionary: Dictionary) -> float | None:
    encoder = dictionary.encoder
    if dictionary.is_transcoder or not isinstance(encoder, (Linear, Gated)):
        return None
    return float(torch.cosine_similarity(encoder.weight.T, dictionary.decoder, dim=1).median())


def _others(dictionary: Dictionary, x: torch.Tensor, y: torch.Tensor) -> Iterator[tuple[str, Dictionary]]:
    """Other readings of the same file."""
    if not dictionary.is_transcoder:
        yield from _other_biases(dictionary)
        yield from _other_norms(dictionary, x)
    yield from _other_thresholds(dictionary, x, y)
    yield from _turned(dictionary)


def _other_biases(dictionary: Dictionary) -> Iterator[tuple[str, Dictionary]]:
    if dictionary.pre_bias is not None:
        yield "no bias were subtracted first", dataclasses.replace(dictionary, pre_bias=None)
    elif dictionary.bias is not None and bool(dictionary.bias.any()):
        other = dataclasses.replace(dictionary, pre_bias=dictionary.bias)
        yield "the decoder's bias were subtracted first", other


def _other_norms(dictionary: Dictionary, x: torch.Tensor) -> Iterator[tuple[str, Dictionary]]:
    if not isinstance(dictionary.norm, Same):
        yield "activations were not normalised", dataclasses.replace(dictionary, norm=Same())
        return
    std = torch.tensor([1 / _scale(x)], dtype=x.dtype)
    yield (
        "activations were scaled to the mean length sqrt(dim)",
        dataclasses.replace(dictionary, norm=Standardise(torch.zeros_like(std), std)),
    )
    yield "every activation were scaled to sqrt(dim)", dataclasses.replace(dictionary, norm=ConstantLength())
    yield "every activation were centred and scaled", dataclasses.replace(dictionary, norm=LayerNorm())


def _other_thresholds(
    dictionary: Dictionary, x: torch.Tensor, y: torch.Tensor
) -> Iterator[tuple[str, Dictionary]]:
    encoder = dictionary.encoder
    if not isinstance(encoder, Linear) or not isinstance(encoder.rule, JumpRelu):
        return
    factors = {"sqrt(dim) over the mean length": torch.tensor([_scale(x)])}
    if dictionary.is_transcoder:
        factors["sqrt(dim) over the mean length written"] = torch.tensor([_scale(y)])
    factors["the lengths of the decoder's rows"] = dictionary.decoder.norm(dim=1).clamp_min(1e-30)
    for name, factor in factors.items():
        if 1 / NEAR_ONE < float(factor.median()) < NEAR_ONE:
            continue
        factor = factor.to(encoder.rule.threshold)
        for how, change in (("times", factor), ("over", 1 / factor)):
            changed = dataclasses.replace(encoder, rule=JumpRelu(encoder.rule.threshold * change))
            yield f"the threshold were {how} {name}", dataclasses.replace(dictionary, encoder=changed)


def _turned(dictionary: Dictionary) -> Iterator[tuple[str, Dictionary]]:
    """Matrices as long as wide, whose shape does not say which way they lie."""
    encoder = dictionary.encoder
    if not isinstance(encoder, (Linear, Gated)) or len(dictionary) != dictionary.dim:
        return
    if dictionary.reads != dictionary.dim:
        return
    turned = dataclasses.replace(encoder, weight=encoder.weight.T.contiguous())
    rows = dictionary.decoder.T.contiguous()
    yield "the encoder were turned", dataclasses.replace(dictionary, encoder=turned)
    yield "the decoder were turned", dataclasses.replace(dictionary, decoder=rows)
    yield "both matrices were turned", dataclasses.replace(dictionary, encoder=turned, decoder=rows)


def _scale(x: torch.Tensor) -> float:
    return x.shape[-1] ** 0.5 / max(float(x.double().norm(dim=-1).mean()), 1e-30)


def _warnings(found: Probe) -> Iterator[str]:
    if found.r2 <= 0:
        yield f"R2 is {found.r2:.3f}: the reconstruction is no better than the mean activation"
    elif found.shuffled_r2 > found.r2 / 2:
        yield f"decoding with shuffled atoms explains {found.shuffled_r2:.3f}: codes and atoms may not match"
    if abs(found.l2_ratio - 1) >= 0.3:
        yield f"reconstructions have {found.l2_ratio:.2f} times the length of the activations"
    if found.advertised_l0 is not None and _miss(found.l0, found.advertised_l0) > math.log(FAR):
        yield f"{found.l0:.1f} codes are active, {found.advertised_l0:g} are advertised"
    if found.alignment is not None and found.alignment < 0.1:
        yield f"encoder and decoder have a median cosine of {found.alignment:.2f}: is one turned or permuted?"
    better = [h for h in found.hypotheses if _beats(h, found)]
    if better:
        best = min(better, key=lambda h: (1 - h.r2) * math.exp(_miss(h.l0, found.advertised_l0)))
        yield (
            f"it fits better if {best.name}: R2 {best.r2:.3f} for {found.r2:.3f}, "
            f"L0 {best.l0:.1f} for {found.l0:.1f}"
        )


def _miss(l0: float, advertised: float | None) -> float:
    """How far L0 is from what is advertised, as the logarithm of a factor."""
    return abs(math.log(max(l0, 1e-3) / advertised)) if advertised else 0.0


def _beats(other: Hypothesis, found: Probe) -> bool:
    """Whether a hypothesis is clearly the better reading; more codes alone explain more, and do not count."""
    miss, missed = _miss(other.l0, found.advertised_l0), _miss(found.l0, found.advertised_l0)
    explains = other.r2 > 0 and 1 - other.r2 < (1 - found.r2) / 2
    if explains and (found.r2 < 0.5 or other.l0 <= 1.5 * found.l0 or miss < missed):
        return True
    return missed > math.log(FAR) and miss < missed / 2 and other.r2 > max(0.0, found.r2 - 0.2)
