"""Activations that stand far above the rest: massive entries, and tokens whose stream is much longer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

ABOVE, RATIO = 100.0, 1000.0  # arXiv 2402.17762
LOW, HIGH, BINS = -4.0, 6.0, 800  # powers of ten of the histogram: a bin is 2.9 per cent wide
SMOOTH = 4.0  # bins of standard deviation: about 12 per cent of a length
DEPTH = 0.5  # our own: a valley is at most half as high as the lower of its two peaks
WINDOW = 2 * SMOOTH * math.pi**0.5  # bins whose plain mean is as noisy as the smoothed value
ERRORS = 3.0  # standard errors by which a valley is lower than its peaks


def massive_entries(x: torch.Tensor, *, above: float = ABOVE, ratio: float = RATIO) -> torch.Tensor:
    """Where ``|x| > above`` and ``|x| >= ratio * median |x|``, as a boolean of the shape of `x`.

    The two conditions of arXiv 2402.17762, whose numbers are the defaults. The median is that of one input's
    hidden state.

    Parameters
    ----------
    x : Tensor
        ``[batch, token, dim]``.
    above : float
        The least magnitude.
    ratio : float
        The least multiple of the median magnitude.
    """
    size = x.detach().float().abs()
    median = size.flatten(-2).median(-1).values[..., None, None]
    return (size > above) & (size >= ratio * median)


@dataclass(frozen=True)
class MassiveTally:
    """Massive entries counted over a stream of inputs of one width and at most `places` tokens.

    Attributes
    ----------
    inputs : int
        How many were looked at.
    dims : Tensor
        In how many inputs a coordinate was massive anywhere, ``[dim]``.
    total : Tensor
        Sum of the massive values of a coordinate, ``[dim]``.
    entries : Tensor
        How many values that sum holds, ``[dim]``.
    places : Tensor
        In how many inputs a token place held a massive entry, ``[place]``.
    largest : Tensor
        The largest magnitude of each coordinate, massive or not, ``[dim]``.
    medians : float
        Sum over inputs of the median magnitude.
    """

    inputs: int
    dims: torch.Tensor
    total: torch.Tensor
    entries: torch.Tensor
    places: torch.Tensor
    largest: torch.Tensor
    medians: float

    @property
    def median(self) -> float:
        """Mean over the inputs of the median magnitude."""
        return self.medians / self.inputs

    @property
    def means(self) -> torch.Tensor:
        """Mean massive value of each coordinate, ``[dim]``; nan where there was none."""
        return self.total / self.entries

    def merge(self, other: MassiveTally) -> MassiveTally:
        """The tally over the inputs of both."""
        count = max(len(self.places), len(other.places))
        places = [torch.nn.functional.pad(t.places, (0, count - len(t.places))) for t in (self, other)]
        return MassiveTally(
            self.inputs + other.inputs,
            self.dims + other.dims,
            self.total + other.total,
            self.entries + other.entries,
            places[0] + places[1],
            torch.maximum(self.largest, other.largest),
            self.medians + other.medians,
        )


def tally_massive(x: torch.Tensor, *, above: float = ABOVE, ratio: float = RATIO) -> MassiveTally:
    """Count the massive entries of ``[batch, token, dim]``; see `massive_entries`."""
    on, size = massive_entries(x, above=above, ratio=ratio), x.detach().float().abs()
    return MassiveTally(
        len(x),
        on.any(1).sum(0),
        torch.where(on, x.detach().double(), 0.0).sum((0, 1)),
        on.sum((0, 1)),
        on.any(2).sum(0),
        size.amax((0, 1)),
        float(size.flatten(1).median(1).values.double().sum()),
    )


@dataclass(frozen=True)
class Valley:
    """What lies between the two highest peaks of a histogram of lengths.

    Attributes
    ----------
    at : float
        The length at the bottom of the valley.
    peaks : tuple of float
        The lengths of the lower and of the upper peak.
    depth : float
        One minus the height of the valley over that of the smaller peak: 0 for none, 1 for a gap.
    share : float
        Part of the samples above the valley.
    """

    at: float
    peaks: tuple[float, float]
    depth: float
    share: float

    @property
    def bimodal(self) -> bool:
        """Whether the valley is at most half as high as the smaller of its peaks; our own rule."""
        return self.depth >= 1 - DEPTH


@dataclass(frozen=True)
class Lengths:
    """A histogram of the lengths of tokens, over bins of equal ratio from 1e-4 to 1e6.

    Attributes
    ----------
    counts : Tensor
        ``[bin]``, whole numbers; what lies outside is counted in the first or last bin.
    """

    counts: torch.Tensor

    @staticmethod
    def of(norms: torch.Tensor) -> Lengths:
        """Count lengths of any shape; none may be negative or NaN."""
        flat = norms.detach().double().flatten().cpu()
        if flat.isnan().any() or (flat < 0).any():
            raise ValueError("lengths are numbers of 0 or more; some of these are negative or NaN")
        place = (flat.clamp_min(1e-300).log10() - LOW) / (HIGH - LOW) * BINS
        return Lengths(torch.bincount(place.clamp(0, BINS - 1).long(), minlength=BINS))

    def merge(self, other: Lengths) -> Lengths:
        """The histogram over the samples of both."""
        return replace(self, counts=self.counts + other.counts)

    def quantile(self, share: float) -> float:
        """The length below which this share of the samples lies, to the upper edge of its bin."""
        below = self.counts.cumsum(0)
        reached = below >= share * below[-1]
        return _length(float(reached.long().argmax()) + 1)

    def share_above(self, length: float) -> float:
        """Part of the samples in bins that begin at `length` or later."""
        first = math.ceil((math.log10(length) - LOW) / (HIGH - LOW) * BINS - 1e-9)
        return float(self.counts[max(0, first) :].sum() / self.counts.sum())

    def valley(self) -> Valley | None:
        """The deepest valley between two peaks, or None where there is one peak alone.

        arXiv 2309.16588 picks the valley by eye. Ours: the histogram of the logarithm is smoothed by a
        Gaussian of four bins; between every pair of peaks lies the lowest place, which counts as a valley
        where it is lower than both by three standard errors of the counts; the deepest is taken
        (`Valley.depth`), and whether the lengths have two modes is said by `Valley.bimodal`.
        """
        if int(self.counts.sum()) == 0:
            raise ValueError("no lengths were counted")
        smooth = _smoothed(self.counts.double())
        tops = _peaks(smooth)
        best: Valley | None = None
        for i, left in enumerate(tops):
            for right in tops[i + 1 :]:
                found = self._between(smooth, left, right)
                if found is not None and (best is None or found.depth > best.depth):
                    best = found
        return best

    def _between(self, smooth: torch.Tensor, left: int, right: int) -> Valley | None:
        """The valley between two peaks; None where its depth lies within the noise of the counts."""
        between = smooth[left : right + 1]
        low, peak = float(between.min()), min(float(smooth[left]), float(smooth[right]))
        if (peak - low) * WINDOW < ERRORS * ((peak + low) * WINDOW) ** 0.5:
            return None
        flat = (between <= low * (1 + 1e-9) + 1e-12).nonzero()[:, 0]
        bottom = left + float(flat.double().mean())  # the middle, where nothing was counted for a while
        above = float(self.counts[int(bottom) + 1 :].sum() / self.counts.sum())
        peaks = _length(left + 0.5), _length(right + 0.5)
        return Valley(_length(bottom + 0.5), peaks, 1 - low / peak, above)


def concentration(columns: torch.Tensor) -> torch.Tensor:
    """``max_j c_j / median_j c_j`` of column sums ``c_j = sum_i A_ij`` ``[..., key]``, as ``[...]``.

    The sums are 1 under uniform attention of as many queries as keys. The score is that of a public write-up
    on sinks in vision transformers (Anatomy of Attention Sinks in Vision Transformers, 2026).
    """
    return columns.amax(-1) / columns.median(-1).values.clamp_min(1e-12)


def _length(place: float) -> float:
    """The length at a place of the histogram, counted in bins."""
    return 10 ** (LOW + place * (HIGH - LOW) / BINS)


def _smoothed(counts: torch.Tensor) -> torch.Tensor:
    reach = int(4 * SMOOTH)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1.0, dtype=counts.dtype) / SMOOTH).square())
    kernel = kernel / kernel.sum()
    return torch.nn.functional.conv1d(counts[None, None], kernel[None, None], padding=reach)[0, 0]


def _peaks(smooth: torch.Tensor) -> list[int]:
    """The places of the eight highest peaks, in ascending order."""
    padded = torch.nn.functional.pad(smooth, (1, 1))
    places = ((padded[1:-1] > padded[:-2]) & (padded[1:-1] >= padded[2:])).nonzero()[:, 0]
    return sorted(places[smooth[places].argsort(descending=True)[:8]].tolist())
