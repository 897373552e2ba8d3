"""Fitting a manifold to labelled activations: components, means of values, and their coordinates."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.bases.linear import finite
from steerlab.bases.manifold import Manifold
from steerlab.errors import SteerlabError, SteerlabWarning, listing, nearest
from steerlab.numerics.coordinates import TURN, angles, between_share, suggested
from steerlab.numerics.linear import principal_components

CLEAR = 0.5  # share of variance between values below which an angle is that of something else
COORDS = ("auto", "angle", "ordinal")


@dataclass(frozen=True, eq=False)
class Shape:
    """What is known of a manifold before it is fitted.

    Parameters
    ----------
    coords : str or Tensor
        ``"angle"``, in the plane of the first two components, period 2 pi; ``"ordinal"``, the number of the
        value; ``"auto"``, what the values themselves suggest; or coordinates ``[value]`` or
        ``[value, axis]``.
    dim : int
        How many coordinates are suggested; given ones say it themselves.
    periods : sequence of (float or None), optional
        Of given or ordinal coordinates, one an axis; none close by default.
    smooth : float
        0 goes through the means of the values.
    weigh : bool
        Whether in smoothing a value counts by the root of its samples (arXiv 2605.05115, world model).
    names : sequence of str
        What the values are called, in the order of their numbers.
    """

    coords: str | torch.Tensor = "auto"
    dim: int = 1
    periods: Sequence[float | None] | None = None
    smooth: float = 0.0
    weigh: bool = False
    names: Sequence[str] = ()


def fit_manifold(
    x: torch.Tensor,
    labels: Sequence[int] | torch.Tensor,
    *,
    shape: Shape | None = None,
    pca: int = 64,
    facts: dict[str, str | float] | None = None,
) -> Manifold:
    """Fit the activation manifold of a concept (arXiv 2605.05115), in float64.

    Components of all samples; the mean of each value in them; its coordinates; a spline over one axis or a
    thin plate over two through the means. An angle's direction is that in which the labels ascend, and a
    plane in which the values make less than half of the variance is warned of (both our own).

    Parameters
    ----------
    x : Tensor
        Activations ``[sample, dim]``, usually at the last token of prompts.
    labels : sequence of int
        The number of each sample's value, ``[sample]``, from 0 on with none left out.
    shape : Shape, optional
        What is known of the coordinates; by default they are suggested.
    pca : int
        How many components; at most one less than samples or dimensions.
    facts : dict, optional
        What to remember with it, such as ``site`` and ``model``.
    """
    shape = shape or Shape()
    x = finite(torch.as_tensor(x), "the activations").detach().double().cpu()
    labels = torch.as_tensor(labels).detach().cpu()
    if x.ndim != 2 or labels.shape != x.shape[:1] or labels.is_floating_point():
        raise SteerlabError(
            f"fit_manifold takes activations [sample, dim] and a number each, not {list(x.shape)} and "
            f"{list(labels.shape)} of {labels.dtype}"
        )
    present, counts = labels.unique(return_counts=True)
    if not torch.equal(present, torch.arange(len(present))) or len(present) < 3:
        raise SteerlabError(f"labels number three values or more from 0 on, these are {present.tolist()}")
    rank = min(pca, min(x.shape) - 1)
    mean, frame, _ = principal_components(x, rank)
    centroids = torch.stack([x[labels == one].mean(0) for one in present])
    values = (centroids - mean) @ frame.T
    knots, periods, found = _coordinates(values, shape)
    known = dict(facts or {}) | {"coords": found, "samples": len(x)}
    if found == "angle":
        known["between"] = between_share((x - mean) @ frame[:2].T, labels)
        if known["between"] < CLEAR:
            warnings.warn(
                f"in the first two components only {known['between']:.0%} of the variance lies between the "
                "values: their angle may be that of something else; coords='auto' looks at the values alone",
                SteerlabWarning,
                stacklevel=2,
            )
    weights = counts.double().sqrt() if shape.weigh else None
    names = tuple(shape.names)
    return Manifold(mean, frame, centroids, knots, periods, shape.smooth, weights, names, known)


def _coordinates(values: torch.Tensor, shape: Shape) -> tuple[torch.Tensor, tuple[float | None, ...], str]:
    """Coordinates ``[value, axis]``, periods, and how they were come by."""
    coords, count = shape.coords, len(values)
    try:
        if isinstance(coords, str) and coords != "ordinal":
            if shape.periods is not None:
                raise SteerlabError(f"coords={coords!r} finds its own periods; give none")
            if coords == "angle":
                return angles(values[:, :2])[:, None], (TURN,), "angle"
            if coords == "auto":
                return *suggested(values, axes=shape.dim), "suggested"
            raise SteerlabError(
                f"coords={coords!r}{nearest(coords, COORDS)} (known: {listing(list(COORDS))})"
            )
    except ValueError as fault:
        raise SteerlabError(f"fit_manifold: {fault}") from None
    given = torch.arange(count).double() if isinstance(coords, str) else torch.as_tensor(coords).double()
    given = given[:, None] if given.ndim == 1 else given
    if given.ndim != 2 or len(given) != count:
        raise SteerlabError(f"coordinates {list(given.shape)} are [value] or [value, axis] of {count} values")
    periods = (None,) * given.shape[1] if shape.periods is None else tuple(shape.periods)
    return given, periods, "ordinal" if isinstance(coords, str) else "given"
