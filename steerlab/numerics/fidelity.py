"""How faithful reconstructions are, in one shot or batch by batch with memory that does not grow."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Fidelity:
    """Sums from which every fidelity number follows; start from `measure`, go on with `merge`.

    Two of them merge exactly (means and scatters by the pairwise rule), so batches and ranks give what
    one pass over all samples gives, up to float64 rounding, however far the data lie from the origin.

    Attributes
    ----------
    samples : int
        How many samples were seen.
    mean : Tensor
        Mean of the originals, ``[dim]``.
    scatter, error : float
        ``sum ||x - mean||^2`` and ``sum ||x - x'||^2``.
    cosines, ratios : float
        Sums of ``cos(x, x')`` and of ``||x'|| / ||x||``.
    norms, products : float
        ``sum ||x'||^2`` and ``sum <x, x'>``.
    """

    samples: int
    mean: torch.Tensor
    scatter: float
    error: float
    cosines: float
    ratios: float
    norms: float
    products: float

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained, ``sum ||x - x'||^2 / sum ||x - mean||^2``.

        The mean is taken per dimension, and a constant error counts: a reconstruction that is off by an
        offset is not excused, as it would be where variances of the residual are compared.
        """
        return self.error / self.scatter if self.scatter else float("nan")

    @property
    def r2(self) -> float:
        """``1 - fvu``: 1 for a perfect reconstruction, 0 for the mean, negative for worse than the mean."""
        return 1 - self.fvu

    @property
    def cosine(self) -> float:
        """Mean of ``cos(x, x')`` over samples."""
        return self.cosines / self.samples

    @property
    def norm_ratio(self) -> float:
        """Mean of ``||x'|| / ||x||`` over samples (the l2 ratio)."""
        return self.ratios / self.samples

    @property
    def reconstruction_bias(self) -> float:
        """``E||x'||^2 / E<x, x'>`` (arXiv 2404.16014): below one where reconstructions shrink."""
        return self.norms / self.products if self.products else float("nan")

    def merge(self, other: Fidelity) -> Fidelity:
        """The fidelity over the samples of both."""
        n = self.samples + other.samples
        apart = other.mean - self.mean
        share = other.samples / n
        between = self.samples * share * float(apart.square().sum())
        return Fidelity(
            samples=n,
            mean=self.mean + share * apart,
            scatter=self.scatter + other.scatter + between,
            error=self.error + other.error,
            cosines=self.cosines + other.cosines,
            ratios=self.ratios + other.ratios,
            norms=self.norms + other.norms,
            products=self.products + other.products,
        )


def measure(x: torch.Tensor, reconstruction: torch.Tensor) -> Fidelity:
    """Compare originals with their reconstructions.

    Parameters
    ----------
    x, reconstruction : Tensor
        ``[..., dim]``; every leading axis counts as samples.

    Returns
    -------
    Fidelity
        Mergeable with that of other batches.
    """
    if x.shape != reconstruction.shape:
        raise ValueError(
            f"originals {tuple(x.shape)} and reconstructions {tuple(reconstruction.shape)} differ"
        )
    a = x.reshape(-1, x.shape[-1]).double()
    b = reconstruction.reshape(-1, x.shape[-1]).double()
    if not len(a):
        raise ValueError("no samples to compare")
    tiny = torch.finfo(torch.float64).tiny
    products = (a * b).sum(1)
    length, rebuilt = a.norm(dim=1).clamp_min(tiny), b.norm(dim=1)
    mean = a.mean(0)
    return Fidelity(
        samples=len(a),
        mean=mean,
        scatter=float((a - mean).square().sum()),
        error=float((a - b).square().sum()),
        cosines=float((products / length / rebuilt.clamp_min(tiny)).sum()),
        ratios=float((rebuilt / length).sum()),
        norms=float(b.square().sum()),
        products=float(products.sum()),
    )


def r2(x: torch.Tensor, reconstruction: torch.Tensor) -> float:
    """Explained variance ``1 - sum ||x - x'||^2 / sum ||x - mean||^2`` with the per-dimension mean.

    Parameters
    ----------
    x, reconstruction : Tensor
        ``[..., dim]``.
    """
    return measure(x, reconstruction).r2


def loss_recovered(clean: float, edited: float, *, ablated: float) -> float:
    """Share of the loss that a splice keeps: ``(L_ablated - L_edited) / (L_ablated - L_clean)``.

    1 where the reconstruction costs nothing, 0 where it is as bad as the ablation. Say beside it whether
    the ablation was to zero or to the mean: the two give different numbers.

    Parameters
    ----------
    clean, edited, ablated : float
        Mean losses of the untouched model, with the reconstruction spliced in, and with the site ablated.
    """
    if ablated == clean:
        raise ValueError("ablating the site leaves the loss as it is, so there is nothing to recover")
    return (ablated - edited) / (ablated - clean)


def kl_recovered(edited: float, ablated: float) -> float:
    """The same in divergence from the clean model, whose own is 0: ``(KL_abl - KL_edited) / KL_abl``."""
    return loss_recovered(0.0, edited, ablated=ablated)
