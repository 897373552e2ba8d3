"""How atoms hang together: Ising couplings, co-firing, correlation of magnitudes, mutual information."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch.nn.functional import softplus

STRENGTH = 1.0  # weight of the data, as logistic regressions call C
STEPS, TOLERANCE = 1000, 1e-6
BINS = 8


@dataclass(frozen=True)
class Couplings:
    """A pairwise model of which atoms fire together, in the convention of spins -1 and +1.

    Attributes
    ----------
    pairs : Tensor
        Symmetric ``J``, ``[atom, atom]``, zero on the diagonal.
    fields : Tensor
        ``h``, ``[atom]``.
    """

    pairs: torch.Tensor
    fields: torch.Tensor


def ising(fires: torch.Tensor, *, strength: float = STRENGTH, steps: int = STEPS) -> Couplings:
    """Ising couplings by L1 logistic pseudo-likelihood (arXiv 2604.28119, its code).

    For each atom the regression of whether it fires on which others fire,
    ``min_{a, B} |B_i|_1 + strength * sum_n log(1 + exp(-y_ni (a_i + sum_j B_ij s_nj)))`` with ``s`` 0 or 1;
    then ``J = B / 4``, ``h_i = (a_i + sum_j B_ij / 2) / 2``, so that
    ``P(s_i = +1 | rest) = sigmoid(2 h_i + 2 sum_j J_ij s_j)``, and ``J <- (J + J^T) / 2``. Two atoms that a
    third one drives fire together and are yet not coupled, which is the reason for it. Equal rows are counted
    once; all regressions are solved side by side.

    Parameters
    ----------
    fires : Tensor
        Boolean ``[sample, atom]``. Leave out atoms that fire almost never or almost always: each costs a
        regression on all the others.
    strength : float
        The inverse of the penalty, C; the paper's code uses 100.
    steps : int
        At most.
    """
    if fires.dtype != torch.bool or fires.ndim != 2:
        raise ValueError(f"couplings take booleans [sample, atom], not {fires.dtype} {list(fires.shape)}")
    rows, counts = fires.unique(dim=0, return_counts=True)
    spins, weight = rows.double(), (counts / counts.sum()).double()[:, None]
    # centred predictors of variance 1: the penalty of each is divided by its own deviation instead
    centre = (weight * spins).sum(0)
    size = (centre * (1 - centre)).sqrt().clamp_min(1e-6)
    seen = (spins - centre) / size
    penalty = 1 / (strength * len(fires) * size[:, None])
    problem = _Regressions(seen, spins, weight, penalty)
    slopes = problem.solve(steps) / size[:, None]
    offsets = problem.offsets - centre @ slopes
    return Couplings((slopes + slopes.T) / 8, (offsets + slopes.sum(0) / 2) / 2)


@dataclass(eq=False)
class _Regressions:
    """L1 logistic regressions of every column on all others, solved side by side.

    Parameters
    ----------
    seen : Tensor
        Predictors ``[row, atom]``.
    spins : Tensor
        What is predicted, 0 or 1, ``[row, atom]``.
    weight : Tensor
        Of rows, ``[row, 1]``, 1 together.
    penalty : Tensor
        Of each slope, ``[predictor, atom]``.
    """

    seen: torch.Tensor
    spins: torch.Tensor
    weight: torch.Tensor
    penalty: torch.Tensor
    offsets: torch.Tensor = field(init=False)

    def solve(self, steps: int) -> torch.Tensor:
        """Slopes ``[predictor, atom]`` by FISTA, each regression at its own pace; `offsets` are set."""
        atoms = self.spins.shape[1]
        rates = (self.weight * self.spins).sum(0)
        now = self.seen.new_zeros(atoms + 1, atoms)  # the last row holds the intercepts
        now[-1] = torch.logit(rates.clamp(1e-9, 1 - 1e-9))
        bend = (rates * (1 - rates)).clamp_min(1e-9)
        ahead, pace = now, now.new_ones(atoms)
        for _ in range(steps):
            loss, slope = self._loss(ahead, slope=True)
            while True:
                fresh = self._shrunk(ahead - slope / bend, bend)
                change = fresh - ahead
                bound = loss + (slope * change).sum(0) + bend / 2 * change.square().sum(0)
                short = self._loss(fresh)[0] > bound + 1e-12
                if not bool(short.any()):
                    break
                bend = torch.where(short, 2 * bend, bend)
            moved = fresh - now
            pace = torch.where(((ahead - fresh) * moved).sum(0) > 0, 1.0, pace)
            quicker = (1 + (1 + 4 * pace.square()).sqrt()) / 2
            ahead = fresh + (pace - 1) / quicker * moved
            now, pace = fresh, quicker
            if float(moved.abs().max()) < TOLERANCE:
                break
        self.offsets = now[-1]
        return now[:-1]

    def _loss(self, at: torch.Tensor, *, slope: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mean logistic loss of each regression ``[atom]``, and its slope like `at`."""
        drive = self.seen @ at[:-1] + at[-1]
        loss = (self.weight * (softplus(drive) - self.spins * drive)).sum(0)
        if not slope:
            return loss, None
        miss = self.weight * (torch.sigmoid(drive) - self.spins)
        return loss, torch.cat([self.seen.T @ miss, miss.sum(0)[None]])

    def _shrunk(self, at: torch.Tensor, bend: torch.Tensor) -> torch.Tensor:
        slopes = at[:-1].sign() * (at[:-1].abs() - self.penalty / bend).clamp_min(0)
        return torch.cat([slopes.fill_diagonal_(0.0), at[-1:]])


def pseudo_likelihood(couplings: Couplings, fires: torch.Tensor) -> float:
    """Mean of ``sum_i log P(s_i | rest)`` over samples ``[sample, atom]``, in nats."""
    signs = 2 * fires.double() - 1
    drive = 2 * (couplings.fields + signs @ couplings.pairs)
    return -float(softplus(-signs * drive).sum(1).mean())


def cofiring(fires: torch.Tensor) -> torch.Tensor:
    """``P(j fires | i fires)``, ``[atom i, atom j]``, of booleans ``[sample, atom]``; nan if i never does."""
    spins = fires.double()
    return spins.T @ spins / spins.sum(0)[:, None]


def magnitude_correlation(codes: torch.Tensor, *, least: int = 3) -> torch.Tensor:
    """Correlation of two atoms' codes over the samples on which both fire, ``[atom, atom]``.

    Where they fire together on fewer than `least` samples, as tiles do, or one of them does not vary there,
    it is nan: missing, which is not the same as 0.

    Parameters
    ----------
    codes : Tensor
        ``[sample, atom]``.
    least : int
        Fewest common samples.
    """
    z = codes.double()
    on = (z != 0).double()
    n = on.T @ on
    own, square = z.T @ on, z.square().T @ on  # of i over the samples of i and j
    cross = z.T @ z - own * own.T / n
    spread = square - own.square() / n
    size = (spread * spread.T).clamp_min(0).sqrt()
    varies = (spread > 1e-12 * square) & (spread > 1e-12 * square).T
    return torch.where((n >= least) & varies, cross / size, torch.nan)


def mutual_information(codes: torch.Tensor, *, bins: int = BINS) -> torch.Tensor:
    """Mutual information of two atoms' binned codes over the geometric mean of their entropies.

    Codes fall into a bin for 0 and `bins` quantiles of those that are not 0 (arXiv 2604.28119, its code).

    Parameters
    ----------
    codes : Tensor
        ``[sample, atom]``.
    bins : int
        Quantiles.

    Returns
    -------
    Tensor
        ``[atom, atom]``; nan where an atom's bin never changes.
    """
    binned = torch.stack([_binned(column, bins) for column in codes.double().T], 1)
    marks = torch.nn.functional.one_hot(binned, bins + 1).double().flatten(1)  # [sample, atom * bin]
    joint = (marks.T @ marks / len(codes)).view(codes.shape[1], bins + 1, codes.shape[1], bins + 1)
    own = marks.mean(0).view(-1, bins + 1)
    entropy = torch.special.entr(own).sum(1)
    together = torch.special.entr(joint).sum((1, 3))
    return (entropy[:, None] + entropy - together) / (entropy[:, None] * entropy).sqrt()


def _binned(column: torch.Tensor, bins: int) -> torch.Tensor:
    """0 for codes of 0, else 1 to `bins` by quantile, ``[sample]``."""
    on = column != 0
    if not bool(on.any()):
        return on.long()
    inner = torch.arange(1, bins, dtype=torch.float64) / bins
    edges = column[on].sort().values[(inner * int(on.sum())).long()]
    column = column.contiguous()
    return torch.where(on, 1 + torch.searchsorted(edges, column, right=True), 0)
