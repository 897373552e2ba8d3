"""Fitting: from pictures of every value to a manifold, a reading of where the object is, and a behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from steerlab.analyzers.picture_manifold.drawing import Drawing, changed, coverage, inside
from steerlab.analyzers.picture_manifold.measuring import Reader
from steerlab.bases import Manifold, Shape, fit_manifold
from steerlab.edits import Edit, Where
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.behaviour import Behaviour, fit_behaviour

RIDGE = 1e-3  # of the mean square of an activation's entry


@dataclass(frozen=True, eq=False)
class Fitted:
    """What the pictures of the values told.

    Attributes
    ----------
    manifold : Manifold
        Through the mean activations of the values inside the object, over all denoising steps.
    reading : Tensor
        Linear reading of how far a place is covered by the object, ``[dim]``.
    offset : float
        Its constant.
    behaviour : Behaviour
        Through the mean distributions that the judge gives pictures of the values.
    told : dict
        ``read``: R2 of the reading; ``between``: share of the samples' variance between values; ``as asked``:
        share of the pictures in which the judge sees the value that was asked for.
    """

    manifold: Manifold
    reading: torch.Tensor
    offset: float
    behaviour: Behaviour
    told: dict[str, float]

    def there(self, edit: Edit) -> Where:
        """An edit where the object is, and nowhere else."""
        return Where(edit, self.reading.float(), self.offset)


def fit_pictures(
    model: Model, templates: Sequence[str], seeds: Sequence[int], at: str, how: tuple[Drawing, Reader, int]
) -> Fitted:
    """Draw every template with every value from the same noise, and fit.

    A sample is the mean of the tokens inside the object of one picture at one step; the manifold is that of
    arXiv 2605.05115 through their means by value. The object is where the values' pictures differ, and the
    reading a ridge regression of each token's coverage on its activation: both our own. Memory does not grow
    with the pictures but for one mean a picture and step.

    Parameters
    ----------
    model : Model
        A pipeline.
    templates : sequence of str
        With ``{value}`` in them.
    seeds : sequence of int
        The noise of each template.
    at : str
        The site, such as ``unet.up.1.2.update``.
    how : tuple
        How pictures are drawn, how they are read, and how many components.
    """
    drawing, reader, components = how
    samples, seen, sums = [], [], None
    for template in tqdm(templates, desc="fitting", disable=None, leave=False):
        for seed in seeds:
            packed = kept(
                f"{template} from {seed} at {at} for {reader.values} by {drawing}",
                lambda template=template, seed=seed: _one(model, (template, seed), at, (drawing, reader)),
            )
            means, probabilities, gram = _unpacked(packed, len(reader.values))
            samples.append(means)
            seen.append(probabilities)
            sums = gram if sums is None else sums + gram
    x = torch.stack(samples)  # [scene, step, value, dim]
    labels = torch.arange(len(reader.values)).expand(x.shape[:-1]).flatten()
    shape = Shape(coords=reader.places, periods=(reader.period,), names=reader.values)
    facts = {"site": at, "pictures": float(len(samples) * len(reader.values))}
    man = fit_manifold(x.flatten(0, -2), labels, shape=shape, pca=components, facts=facts)
    behaviours = torch.stack(seen).double()
    answers = torch.arange(len(reader.values)).expand(behaviours.shape[:-1]).flatten()
    behaviour = fit_behaviour(
        behaviours.flatten(0, 1), answers, coords=reader.places, periods=(reader.period,)
    )
    reading, offset, explained = _reading(sums)
    told = {
        "read": explained,
        "between": _between(x.flatten(0, 1)),
        "as asked": float((behaviours.argmax(-1) == torch.arange(len(reader.values))).double().mean()),
    }
    return Fitted(man, reading, offset, behaviour, told)


def _one(model: Model, scene: tuple[str, int], at: str, how: tuple[Drawing, Reader]) -> torch.Tensor:
    """One template from one seed with every value: means, what is seen, sums for the reading."""
    drawing, reader = how
    template, seed = scene
    prompts = [template.format(value=value) for value in reader.values]
    pixels, acts = drawing.read(model, prompts, [seed] * len(prompts), at)
    covered = coverage(changed(pixels), acts.shape[-2])
    means = torch.einsum("t,svtd->svd", inside(covered), acts.float())
    tokens = acts.double().flatten(0, 1)
    rows = torch.cat(
        [tokens, torch.ones_like(tokens[..., :1]), covered.double().expand(tokens.shape[:-1])[..., None]], -1
    ).flatten(0, 1)
    gram = rows.T @ rows
    sizes = torch.tensor([means.shape[0], means.shape[-1]])
    return torch.cat(
        [sizes.double(), means.double().flatten(), reader.seen(pixels).double().flatten(), gram.flatten()]
    )


def _unpacked(packed: torch.Tensor, values: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    steps, dim = (int(size) for size in packed[:2])
    sizes = [steps * values * dim, values * values, (dim + 2) ** 2]
    means, seen, gram = packed[2:].split(sizes)
    return means.view(steps, values, dim), seen.view(values, values), gram.view(dim + 2, dim + 2)


def _reading(sums: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    """Ridge regression of the last column on the others, from their products: weights, constant, R2."""
    xx, xy, yy = sums[:-1, :-1], sums[:-1, -1], sums[-1, -1]
    count = xx[-1, -1]
    ridge = RIDGE * xx.diagonal()[:-1].mean() * torch.eye(len(xx), dtype=xx.dtype)
    ridge[-1, -1] = 0.0  # the constant is free
    weights = torch.linalg.solve(xx + ridge, xy)
    rest = yy - 2 * weights @ xy + weights @ xx @ weights
    explained = 1 - float(rest / (yy - xy[-1].square() / count))
    return weights[:-1], float(weights[-1]), explained


def _between(x: torch.Tensor) -> float:
    """Share of the variance of samples ``[sample, value, dim]`` that lies between values."""
    means = x.mean(0)
    return float(
        ((means - means.mean(0)).square().sum(-1).mean()) / (x - x.mean((0, 1))).square().sum(-1).mean()
    )
