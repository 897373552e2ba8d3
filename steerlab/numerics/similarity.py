"""Whether two representations of the same samples hold the same: CKA, RSA, regression, shared directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

MOST = 8192  # coordinates of all representations together: their second moments take 512 MiB


@dataclass(frozen=True)
class Moments:
    """Sums over samples of several representations side by side; memory does not grow with the samples.

    Everything about pairs of representations follows from them: linear CKA with the biased and with the
    unbiased HSIC, ridge regressions and canonical directions.

    Attributes
    ----------
    widths : tuple of int
        Coordinates of each representation; together ``dim``.
    count : int
        Samples.
    sums : Tensor
        ``sum_i z_i``, ``[dim]``.
    products : Tensor
        ``sum_i z_i z_i^T``, ``[dim, dim]``.
    weighted : Tensor
        ``sum_i |z_i^(r)|^2 z_i``, ``[representation, dim]``.
    squares : Tensor
        ``sum_i |z_i^(r)|^2 |z_i^(s)|^2``, ``[representation, representation]``.
    """

    widths: tuple[int, ...]
    count: int
    sums: torch.Tensor
    products: torch.Tensor
    weighted: torch.Tensor
    squares: torch.Tensor

    @staticmethod
    def of(parts: Sequence[torch.Tensor]) -> Moments:
        """Gather representations ``[sample, width]``, paired by sample; sums are in float64."""
        widths = tuple(part.shape[-1] for part in parts)
        if len({len(part) for part in parts}) != 1 or any(part.ndim != 2 for part in parts):
            shapes = [list(part.shape) for part in parts]
            raise ValueError(f"representations are [sample, width] of the same samples, not {shapes}")
        if sum(widths) > MOST:
            raise ValueError(
                f"{sum(widths)} coordinates together; their moments would not fit: at most {MOST}"
            )
        z = torch.cat([part.double() for part in parts], 1)
        norms = torch.stack([part.double().square().sum(1) for part in parts])
        return Moments(widths, len(z), z.sum(0), z.T @ z, norms @ z, norms @ norms.T)

    def merge(self, other: Moments) -> Moments:
        """The moments of the samples of both."""
        if self.widths != other.widths:
            raise ValueError(f"moments of widths {self.widths} and {other.widths} are not of the same things")
        return Moments(
            self.widths,
            self.count + other.count,
            self.sums + other.sums,
            self.products + other.products,
            self.weighted + other.weighted,
            self.squares + other.squares,
        )

    def span(self, part: int) -> slice:
        """Where a representation lies among the coordinates."""
        start = sum(self.widths[:part])
        return slice(start, start + self.widths[part])

    def covariance(self, first: int, second: int) -> torch.Tensor:
        """``sum_i (x_i - mean)(y_i - mean)^T``, ``[width, width]``, not divided by the samples."""
        a, b = self.span(first), self.span(second)
        return self.products[a, b] - torch.outer(self.sums[a], self.sums[b]) / self.count


def linear_cka(moments: Moments, first: int, second: int) -> float:
    """``||X^T Y||_F^2 / (||X^T X||_F ||Y^T Y||_F)`` of centred samples (arXiv 1905.00414).

    It does not change under rotations and isotropic scaling of either side. With few samples it is too high:
    for unrelated Gaussian representations about ``sqrt(p q) / n`` and more (`unbiased_cka`).
    """
    cross = moments.covariance(first, second).norm().square()
    own = moments.covariance(first, first).norm() * moments.covariance(second, second).norm()
    return float(cross / own)


def unbiased_cka(moments: Moments, first: int, second: int) -> float:
    """The same with the unbiased estimate of HSIC: about 0 where nothing is shared, however few the samples.

    ``HSIC_1 = [tr(K L) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1] / (n (n-3))`` with the diagonals of ``K``
    and ``L`` set to zero (Song et al. 2012, in CKA arXiv 2010.15327). For linear kernels every term is one of
    moments, which is how it is computed here: no matrix of samples by samples is made. It may be negative.
    """
    a, b, both = (hsic(moments, i, j) for i, j in ((first, first), (second, second), (first, second)))
    return both / (a * b) ** 0.5 if a > 0 and b > 0 else float("nan")


def hsic(moments: Moments, first: int, second: int) -> float:
    """The unbiased estimate of HSIC with linear kernels; see `unbiased_cka`."""
    n = moments.count
    if n < 4:
        raise ValueError(f"the unbiased HSIC needs 4 samples or more, not {n}")
    x, y = moments.span(first), moments.span(second)
    s_x, s_y = moments.sums[x], moments.sums[y]
    xy, squares = moments.products[x, y], moments.squares[first, second]
    trace = xy.square().sum() - squares
    all_k = s_x.square().sum() - moments.products[x, x].trace()
    all_l = s_y.square().sum() - moments.products[y, y].trace()
    # sum_i (x_i.s_x - |x_i|^2)(y_i.s_y - |y_i|^2), the rows of K and L multiplied
    mixed = s_x @ xy @ s_y - s_x @ moments.weighted[second, x] - s_y @ moments.weighted[first, y] + squares
    return float((trace + all_k * all_l / ((n - 1) * (n - 2)) - 2 / (n - 2) * mixed) / (n * (n - 3)))


def regression_r2(fitted: Moments, held: Moments, *, source: int, target: int, ridge: float = 1e-3) -> float:
    """How much of one representation a linear map from another predicts, on samples it was not fitted to.

    ``1 - sum |y - (W^T x + c)|^2 / sum |y - mean|^2``, the target's variance around its own means on the held
    samples, all coordinates together. ``W = (X^T X + ridge t I)^-1 X^T Y`` of centred samples, ``t`` the mean
    of the diagonal of ``X^T X`` (that scale is our own choice). It is 0 for a map that knows the held means
    alone, and may be negative.

    Parameters
    ----------
    fitted, held : Moments
        Of the samples that the map is fitted to, and of others.
    source, target : int
        Numbers of the two representations.
    ridge : float
        The penalty.
    """
    own = fitted.covariance(source, source)
    eye = torch.eye(len(own), dtype=own.dtype)
    w = torch.linalg.solve(own + ridge * own.diagonal().mean() * eye, fitted.covariance(source, target))
    x, y = held.span(source), held.span(target)
    c = (fitted.sums[y] - fitted.sums[x] @ w) / fitted.count
    xx, xy, yy = held.products[x, x], held.products[x, y], held.products[y, y]
    left = yy.trace() + (w * (xx @ w)).sum() + held.count * c @ c - 2 * (w * xy).sum()
    left = left - 2 * c @ held.sums[y] + 2 * c @ (held.sums[x] @ w)
    return float(1 - left / held.covariance(target, target).trace())


@dataclass(frozen=True)
class Shared:
    """Directions of two representations along which they agree most.

    Attributes
    ----------
    correlations : Tensor
        Canonical correlations, largest first, ``[rank]``.
    first, second : Tensor
        Unit rows ``[rank, width]``: ``x . first[k]`` and ``y . second[k]`` have the k-th correlation.
    """

    correlations: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor


def shared_directions(moments: Moments, first: int, second: int, *, rank: int, ridge: float = 1e-2) -> Shared:
    """Canonical correlation analysis from moments: ``max corr(X a, Y b)``, each pair apart from those before.

    Singular vectors of ``S_x^-1/2 C_xy S_y^-1/2``, where ``S`` is a covariance with ``ridge`` times the mean
    of its diagonal added to the diagonal (our own choice, without which directions of no variance win).
    """
    left, right = (_inverse_root(moments.covariance(i, i), ridge) for i in (first, second))
    u, s, vh = torch.linalg.svd(left @ moments.covariance(first, second) @ right, full_matrices=False)
    a, b = (left @ u[:, :rank]).T, (right @ vh[:rank].T).T
    return Shared(s[:rank], a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True))


def rsa(first: torch.Tensor, second: torch.Tensor, *, distance: str = "euclidean") -> float:
    """Spearman correlation between the pairwise distances of the same samples in two representations.

    Representational similarity analysis (Kriegeskorte et al. 2008). Equal distances share their mean rank.

    Parameters
    ----------
    first, second : Tensor
        ``[sample, width]`` each; widths may differ.
    distance : str
        ``"euclidean"``, or ``"correlation"`` (one minus Pearson's of two samples' coordinates).
    """
    if len(first) != len(second) or len(first) < 3:
        raise ValueError(f"{len(first)} and {len(second)} samples: give 3 or more, the same ones")
    ranks = [_ranks(_distances(one.double(), distance)) for one in (first, second)]
    a, b = (one - one.mean() for one in ranks)
    return float((a @ b) / (a.norm() * b.norm()))


def _distances(x: torch.Tensor, kind: str) -> torch.Tensor:
    """Upper triangle of the pairwise distances, ``[pair]``."""
    if kind == "euclidean":
        return torch.nn.functional.pdist(x)
    if kind != "correlation":
        raise ValueError(f"distance={kind!r}: give 'euclidean' or 'correlation'")
    z = x - x.mean(1, keepdim=True)
    z = z / z.norm(dim=1, keepdim=True).clamp_min(1e-300)
    i, j = torch.triu_indices(len(x), len(x), 1)
    return 1 - (z @ z.T)[i, j]


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """Ranks from 0 on; equal values share the mean of theirs."""
    _, which, counts = values.unique(return_inverse=True, return_counts=True)
    counts = counts.double()
    return (counts.cumsum(0) - (counts + 1) / 2)[which]


def _inverse_root(covariance: torch.Tensor, ridge: float) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0) + ridge * values.clamp_min(0).mean()
    return (vectors * values.rsqrt()) @ vectors.T
