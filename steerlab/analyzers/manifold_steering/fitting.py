"""What a model does on prompts with known answers, and the two curves that are fitted to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.analyzers.manifold_steering.outcomes import Outcomes
from steerlab.analyzers.manifold_steering.prompts import Concept, Prompt
from steerlab.analyzers.manifold_steering.reading import place_of
from steerlab.atoms.stream import prepared
from steerlab.bases import Manifold, Shape, fit_manifold
from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.behaviour import Behaviour, fit_behaviour
from steerlab.numerics.coordinates import TURN, angles
from steerlab.numerics.linear import principal_components
from steerlab.numerics.simplex import roots

COORDS = ("order", "means", "angle")


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model did on prompts.

    Parameters
    ----------
    prompts : list of Prompt
        The prompts.
    behaviour : Tensor
        Distributions over the answers, ``[prompt, value + 1]``.
    last : Tensor
        Activations of the last token, ``[prompt, dim]``.
    named : Tensor
        Activations of the token that names a value, ``[prompt, dim]`` in the order of the prompts; NaN where
        a prompt names none, and empty where nobody asked.
    """

    prompts: list[Prompt]
    behaviour: torch.Tensor
    last: torch.Tensor
    named: torch.Tensor

    @property
    def said(self) -> torch.Tensor:
        """The likeliest value, ``[prompt]``."""
        return self.behaviour[:, :-1].argmax(-1)

    @property
    def answers(self) -> torch.Tensor:
        """The right value, ``[prompt]``."""
        return torch.tensor([prompt.answer for prompt in self.prompts])

    @property
    def right(self) -> torch.Tensor:
        """Whether the likeliest value is the right one, ``[prompt]``."""
        return self.said == self.answers

    def chosen(self, on: torch.Tensor) -> Seen:
        """Some of the prompts, by a boolean ``[prompt]``."""
        places = on.nonzero()[:, 0]
        named = self.named[places] if len(self.named) else self.named
        some = [self.prompts[i] for i in places.tolist()]
        return Seen(some, self.behaviour[places], self.last[places], named)


def seen(
    model: Model, prompts: Sequence[Prompt], concept: Concept, outcomes: Outcomes, sites: tuple[str, str]
) -> Seen:
    """Read prompts at the last token of one site and the naming token of another, some that are as long.

    Parameters
    ----------
    model : Model
        A language model.
    prompts : sequence of Prompt
        The prompts.
    concept : Concept
        The values that they name.
    outcomes : Outcomes
        The answers.
    sites : tuple of str
        Where the last token is read, and where the token that names a value is; empty for not at all.
    """
    from tqdm.auto import tqdm

    groups = _as_long(model, prompts, concept, sites[1])
    found: list[torch.Tensor] = [torch.empty(0)] * len(prompts)
    for rows in tqdm(groups, desc="prompts", disable=None, leave=False):
        said = f"{sites} {[prompts[row].text for row, _, _ in rows]}"
        got = kept(said, lambda rows=rows: _read(model, rows, outcomes, sites))
        for (row, _, _), values in zip(rows, got, strict=True):
            found[row] = values
    width = outcomes.count + 1
    all_found = torch.stack(found)
    behaviour, rest = all_found[:, :width], all_found[:, width:]
    dim = rest.shape[1] // 2 if sites[1] else rest.shape[1]
    return Seen(list(prompts), behaviour, rest[:, :dim], rest[:, dim:])


def _as_long(
    model: Model, prompts: Sequence[Prompt], concept: Concept, named: str, at_once: int = 16
) -> list[list[tuple[int, torch.Tensor, int | None]]]:
    """Batches of prompts of equal length: their numbers, ids, and the token that names a value."""
    early = str(model.sites("**.resid_pre")[0]) if named else ""
    by_length: dict[int, list[tuple[int, torch.Tensor, int | None]]] = {}
    for row, prompt in enumerate(prompts):
        ids = prepared(model, prompt.text)["input_ids"][0]
        place = None
        if named and prompt.named is not None:
            place = place_of(model, early, prompt.text, concept.values[prompt.named])
        by_length.setdefault(len(ids), []).append((row, ids, place))
    return [rows[i : i + at_once] for rows in by_length.values() for i in range(0, len(rows), at_once)]


def _read(
    model: Model,
    rows: list[tuple[int, torch.Tensor, int | None]],
    outcomes: Outcomes,
    sites: tuple[str, str],
) -> torch.Tensor:
    """Distributions, then activations, ``[row, value + 1 + dim (+ dim)]``; of the tokens of answers too."""
    ids, tails = torch.stack([one for _, one, _ in rows]), outcomes.tails
    both = torch.cat([ids.repeat_interleave(len(tails), 0), tails.to(ids.device).repeat(len(rows), 1)], 1)
    wanted = list(dict.fromkeys(site for site in sites if site))
    with torch.no_grad(), model.read(wanted) as reading:
        logits = model.module(input_ids=both, use_cache=False).logits
    last = ids.shape[1] - 1
    parts = [outcomes.distribution(logits[:, last:].unflatten(0, (len(rows), len(tails))))]
    read = reading.activations()
    acts = {site: read[site][:: len(tails)].float().cpu() for site in wanted}
    parts.append(acts[sites[0]][:, last])
    if sites[1]:
        x = acts[sites[1]]
        none = torch.full((x.shape[-1],), torch.nan)
        parts.append(torch.stack([none if at is None else x[i, at] for i, (_, _, at) in enumerate(rows)]))
    return torch.cat([part.float().cpu() for part in parts], 1)


@dataclass(frozen=True)
class Fitting:
    """How curves are fitted.

    Parameters
    ----------
    coords : str
        Of cyclic values: ``"order"``, equally far apart in their order, so that both curves go the same way
        round from value to value (our own); ``"angle"``, in the plane of the first two components of all
        prompts (the paper's); ``"means"``, in that of the values' means, which other differences between
        prompts do not turn (our own). Values that do not close have their numbers.
    pca : int
        How many components hold the curve of activations; at most one less than prompts.
    """

    coords: str = "order"
    pca: int = 64

    def manifold(self, x: torch.Tensor, labels: torch.Tensor, concept: Concept, site: str) -> Manifold:
        """The curve of activations ``[prompt, dim]``."""
        coords, periods = self._coordinates(x, labels, concept)
        shape = Shape(coords=coords, periods=periods, names=concept.values)
        return fit_manifold(x, labels, shape=shape, pca=self.pca, facts={"site": site})

    def behaviour(self, p: torch.Tensor, labels: torch.Tensor, concept: Concept) -> Behaviour:
        """The curve of distributions ``[prompt, value + 1]``, with coordinates of its own."""
        p = p / p.sum(-1, keepdim=True)
        coords, periods = self._coordinates(roots(p), labels, concept)
        return fit_behaviour(p, labels, coords=coords, periods=periods)

    def _coordinates(
        self, x: torch.Tensor, labels: torch.Tensor, concept: Concept
    ) -> tuple[str | torch.Tensor, tuple[float | None, ...] | None]:
        missing = [repr(name) for i, name in enumerate(concept.values) if not bool((labels == i).any())]
        if missing:
            raise SteerlabError(
                f"no prompt is counted for {', '.join(missing)}; give more templates, or group_by='truth'"
            )
        if not concept.cyclic:
            return "ordinal", None
        if self.coords == "angle":
            return "angle", None
        count = len(concept.values)
        if self.coords == "order":
            return torch.arange(count, dtype=torch.float64) * TURN / count, (TURN,)
        means = torch.stack([x[labels == i].double().mean(0) for i in range(count)])
        mean, frame, _ = principal_components(means, 2)
        return angles((means - mean) @ frame.T), (TURN,)


def in_order(knots: torch.Tensor, cyclic: bool) -> bool:
    """Whether coordinates ``[value, 1]`` follow each other as the values do, once round where cyclic."""
    line = knots[:, 0]
    steps = (line.roll(-1) - line).remainder(TURN) if cyclic else line.diff()
    once = not cyclic or abs(float(steps.sum()) - TURN) < 1e-6
    return once and bool((steps > 0).all())
