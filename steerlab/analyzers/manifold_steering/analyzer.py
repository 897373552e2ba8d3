"""ManifoldSteering: what a language model says when it is led from value to value along a concept's curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.manifold_steering.fitting import COORDS, Fitting, Seen, in_order, seen
from steerlab.analyzers.manifold_steering.outcomes import READINGS, Outcomes
from steerlab.analyzers.manifold_steering.prompts import Concept, Prompt, prompts_of
from steerlab.analyzers.manifold_steering.pulling import Pullback, Pulling, free_components, pulled_back
from steerlab.analyzers.manifold_steering.reading import answers_at
from steerlab.analyzers.manifold_steering.results import Results
from steerlab.analyzers.manifold_steering.steering import WAYS, own
from steerlab.analyzers.manifold_steering.study import Pair, Steered, aimed, pairs_of, walks
from steerlab.analyzers.manifold_steering.tables import accuracy_table
from steerlab.analyzers.settings import check_texts, check_whole, is_number
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.model import Model
from steerlab.numerics.behaviour import Behaviour
from steerlab.numerics.isometry import isometry
from steerlab.report import Report

GROUPS = ("truth", "prediction")
MODES = tuple(mode for mode in WAYS if mode != "random")


@dataclass(frozen=True)
class ManifoldSteering(Analyzer):
    """Fit the curve of a concept's values in activations and in behaviour, and steer along it.

    The study of arXiv 2605.05115 on templates of one's own. The data are templates: texts with slots that
    end in the answer's, such as "The day after {x} is {x+1}" (see `prompts_of`). Energies are the paper's
    sums over waypoints against the curve of behaviour, in all modes, beside the same change turned into
    random dimensions; success is our own: the share of prompts whose likeliest value becomes the one aimed
    at, by the gap between it and what the prompt said before.

    Parameters
    ----------
    at : str
        Where the last token of prompts is steered.
    values : list of str
        The concept's values in their order.
    cyclic : bool
        Whether the first one follows the last one.
    offsets : list of int
        What ``{n}`` is.
    counts : list of str
        How 1, 2, ... are written; digits without.
    reading : str
        ``"token"`` or ``"whole"``, see `Outcomes.of`.
    coords : str
        ``"order"``, ``"means"`` or ``"angle"``, see `Fitting`.
    group_by : str
        What prompts are grouped by: the ``"truth"`` (the paper's) or the model's own ``"prediction"``.
    least_accuracy : float
        Templates on which the model is right less often are left out.
    named_at : str, optional
        A site where the token that names ``{x}`` is steered as well, along a curve of its own.
    modes : list of str
        Of ``"manifold"``, ``"linear_subspace"``, ``"linear"`` and ``"move"``.
    waypoints, base : int
        Waypoints of a way; base prompts, the same ones for all pairs.
    pairs : int, optional
        So many pairs of values, drawn at random; all of them without.
    pca : int
        Components that are replaced.
    pulled : int
        So many pairs, the shown one first, are pulled back as well (`pulled_back`): slow, 0 for none.
    shown : list of str
        The two values between which a way is drawn; by default the first and the one farthest from it.
    most, seed : int
        Most prompts, drawn at random; of what is drawn.
    """

    at: str
    values: Sequence[str]
    cyclic: bool = True
    offsets: Sequence[int] = (1,)
    counts: Sequence[str] = ()
    reading: str = "token"
    coords: str = "order"
    group_by: str = "truth"
    least_accuracy: float = 0.0
    named_at: str | None = None
    modes: Sequence[str] = MODES
    waypoints: int = 50
    base: int = 16
    pairs: int | None = None
    pca: int = 64
    pulled: int = 0
    shown: Sequence[str] = ()
    most: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_texts(self, "values", "modes")
        check_whole(self, "base", "pca", "most")
        check_whole(self, "waypoints", least=2)
        check_whole(self, "seed", "pulled", least=0)
        words = (("reading", READINGS), ("coords", COORDS), ("group_by", GROUPS))
        asked = [(name, getattr(self, name), known) for name, known in words]
        for name, given, known in [*asked, *(("modes", mode, MODES) for mode in self.modes)]:
            if given not in known:
                near = nearest(str(given), known)
                raise SteerlabError(f"ManifoldSteering: {name}={given!r}{near} (known: {listing(known)})")
        if len(self.values) < 4 or len(set(self.values)) < len(self.values):
            raise SteerlabError("ManifoldSteering: give four different values or more, in their order")
        if "manifold" not in self.modes:
            raise SteerlabError(
                "ManifoldSteering: modes has to hold 'manifold', which the others stand beside"
            )
        if not is_number(self.least_accuracy) or not 0 <= self.least_accuracy <= 1:
            raise SteerlabError(f"ManifoldSteering: least_accuracy={self.least_accuracy!r} is not in [0, 1]")
        if self.pairs is not None:
            check_whole(self, "pairs")
        unknown = [name for name in self.shown if name not in self.values]
        if unknown or len(self.shown) not in (0, 2) or len(set(self.shown)) < len(self.shown):
            raise SteerlabError(f"ManifoldSteering: shown={list(self.shown)!r}; give two of the values")

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables: accuracy, energies by pair, gap and mode, tests, success by gap, and both curves."""
        concept = Concept(tuple(self.values), self.cyclic, tuple(self.counts))
        templates = self._templates(data)
        outcomes = Outcomes.of(model, self.values, reading=self.reading)
        sites = (str(model.site(self.at)), "" if self.named_at is None else str(model.site(self.named_at)))
        prompts = self._drawn(prompts_of(templates, concept, self.offsets), self.most)
        everything = seen(model, prompts, concept, outcomes, sites)
        accuracy = accuracy_table(everything, templates)
        found = self._kept(everything, templates)
        labels = found.answers if self.group_by == "truth" else found.said
        fitting = Fitting(self.coords, self.pca)
        behaviour = fitting.behaviour(found.behaviour, labels, concept)
        base = self._base(found, bool(sites[1]))
        manifold = fitting.manifold(found.last, labels, concept, sites[0])
        texts = [prompt.text for prompt in base.prompts]
        answers = answers_at(model, texts, sites[0], outcomes)
        last = Steered(answers, base.prompts, base.last, base.said, manifold)
        aims = {"last token": aimed(last, concept, [*self.modes, "random"])}
        if sites[1]:
            named = self._named(model, found, base, (concept, outcomes, sites[1]))
            aims["named token"] = aimed(named, concept, [*self.modes, "random"])
        pairs = pairs_of(concept, self.pairs, self.seed)
        shown = self._shown(concept)
        far = list(dict.fromkeys([shown, *pairs_of(concept, self.pulled, self.seed)]))[: self.pulled]
        pairs = pairs if shown in pairs else [shown, *pairs[1:]]
        return Results(
            concept,
            (manifold, behaviour),
            walks(last, behaviour, pairs, [*self.modes, "random"], self.waypoints),
            aims,
            own(answers, manifold, base.last),
            isometry(manifold.surface, behaviour.surface, interior=_interior(len(self.values))),
            accuracy,
            found,
            tuple(texts),
            shown,
            in_order(manifold.chart.knots, self.cyclic) and in_order(behaviour.chart.knots, self.cyclic),
            {pair: self._pulled(last, behaviour, pair, found.chosen(labels == pair[0])) for pair in far},
        ).report(model, sites[0])

    def passes(self, model: Model, data: Any) -> float:
        """All prompts, and the ends of all ways and the ways themselves, one token of a prompt each."""
        count = len(self.values)
        pairs = count * (count - 1) // 2 if self.pairs is None else self.pairs
        ways = len(self.modes) + 1
        prompts = len(
            prompts_of(self._templates(data), Concept(tuple(self.values), self.cyclic), self.offsets)
        )
        again = self.base * ways * (pairs * self.waypoints + count)
        once = Pulling()  # at most: searches settle sooner; a gradient counts as two passes
        again += self.pulled * self.base * once.waypoints * once.search.rounds * once.search.inner * 3
        return prompts + again / LONG

    def _templates(self, data: Any) -> list[str]:
        if isinstance(data, str) or not all(isinstance(text, str) for text in data) or not len(data):
            raise SteerlabError("ManifoldSteering: the data are templates, a list of texts with slots")
        return list(data)

    def _drawn(self, prompts: list[Prompt], most: int) -> list[Prompt]:
        if not prompts:
            raise SteerlabError("ManifoldSteering: no template gives a prompt within the values")
        order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(self.seed))
        return [prompts[i] for i in sorted(order[:most].tolist())]

    def _kept(self, found: Seen, templates: Sequence[str]) -> Seen:
        """Prompts of the templates on which the model is right often enough."""
        family = torch.tensor([prompt.family for prompt in found.prompts])
        right = {int(one): float(found.right[family == one].double().mean()) for one in family.unique()}
        good = [one for one, share in right.items() if share >= self.least_accuracy]
        if not good:
            best = max(right, key=right.__getitem__)
            raise SteerlabError(
                f"no template reaches an accuracy of {self.least_accuracy:g}; the best is "
                f"{templates[best]!r} with {right[best]:.2f}"
            )
        return found.chosen(torch.isin(family, torch.tensor(good)))

    def _base(self, found: Seen, named: bool) -> Seen:
        """The base prompts, drawn at random and not by whether they are answered rightly."""
        usable = torch.tensor([prompt.named is not None or not named for prompt in found.prompts])
        if not bool(usable.any()):
            raise SteerlabError("named_at: no template names {x} before its answer")
        places = usable.nonzero()[:, 0]
        order = torch.randperm(len(places), generator=torch.Generator().manual_seed(self.seed + 1))
        on = torch.zeros(len(found.prompts), dtype=torch.bool)
        on[places[order[: self.base]]] = True
        return found.chosen(on)

    def _named(self, model: Model, found: Seen, base: Seen, parts: tuple[Concept, Outcomes, str]) -> Steered:
        """The same prompts, steered at the token that names a value, on the curve of named values."""
        concept, outcomes, site = parts
        on = torch.tensor([prompt.named is not None for prompt in found.prompts])
        some = found.chosen(on)
        labels = torch.tensor([prompt.named for prompt in some.prompts])
        manifold = Fitting(self.coords, self.pca).manifold(some.named, labels, concept, site)
        texts, words = [one.text for one in base.prompts], [concept.values[one.named] for one in base.prompts]
        answers = answers_at(model, texts, site, outcomes, words=words)
        return Steered(answers, base.prompts, base.named, base.said, manifold, named=True)

    def _pulled(self, last: Steered, behaviour: Behaviour, pair: Pair, own: Seen) -> Pullback:
        """A pair pulled back on prompts that are counted for its first value."""
        pulling = Pulling(free=min(Pulling().free, len(last.manifold.frame)))
        basis, answers = free_components(last.manifold, pulling.free), last.answers
        texts = [prompt.text for prompt in own.prompts[: self.base]]
        read = answers_at(answers.model, texts, answers.site, answers.outcomes, basis=basis)
        return pulled_back(read, last.manifold, behaviour=behaviour, ends=pair, pulling=pulling)

    def _shown(self, concept: Concept) -> tuple[int, int]:
        names = list(concept.values)
        if self.shown:
            first, second = sorted(names.index(name) for name in self.shown)
            return first, second
        return 0, max(range(1, len(names)), key=lambda one: concept.gap(0, one))


LONG = 12.0  # tokens of a prompt, about, of which one runs again


def _interior(values: int) -> int:
    """Places between two values that isometry looks at: the paper's 4, 1 and 0 for 7, 12 and 91 values."""
    return 4 if values <= 8 else 1 if values <= 40 else 0
