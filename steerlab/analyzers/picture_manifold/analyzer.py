"""PictureManifold: what a pipeline draws, steered along the manifold of a concept and along the chord."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.picture_manifold.drawing import Drawing, changed
from steerlab.analyzers.picture_manifold.findings import found
from steerlab.analyzers.picture_manifold.fitting import Fitted, fit_pictures
from steerlab.analyzers.picture_manifold.measuring import Reader
from steerlab.analyzers.picture_manifold.tables import plots, tables
from steerlab.analyzers.picture_manifold.walking import Walk, answers
from steerlab.analyzers.settings import check_texts, check_whole, is_number
from steerlab.edits import Edit, Move, RandomControl, Replace
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.intervention import Intervention
from steerlab.keeping import kept, kept_texts
from steerlab.model import Model
from steerlab.report import Report
from steerlab.store import made_on
from steerlab.zoo.checker import QUESTIONS


@dataclass(frozen=True)
class PictureManifold(Analyzer):
    """Draw a concept's values, fit the manifold they lie on at one site, and steer pictures along it.

    The paper's steering (arXiv 2605.05115), ``h' = mu + B s(u) + (I - B B^T)(h - mu)``, at the tokens of an
    object on the conditional branch, at all denoising steps; where the object is a linear reading of each
    token says (`steerlab.edits.Where`). Beside it the chord inside the same components (``linear_subspace``)
    and random steps as long as the curve's own. Behaviour is what a checker sees that never saw a generated
    picture: distributions over the values. Data are prompts with ``{value}`` in them.
    The readings of pictures, orders and the confidence are our own definitions; see `Reader`.

    Parameters
    ----------
    values : list of str
        Words for the prompts and answers of the checker, in the order of the concept.
    at : str
        One site, usually an update: ``"unet.up.1.2.update"``.
    start, end : str
        Between which values the paths run; steered prompts hold the first.
    places : list of float, optional
        Coordinates of the values; their numbers by default.
    period : float, optional
        After which the coordinates begin again.
    question, keeps : str
        What the checker is asked; and what should stay as it is.
    components : int
        Of the manifold.
    waypoints : int
        Of each path.
    fit_seeds, seeds : list of int
        The noise of the pictures of the fit, where every prompt is drawn from every seed, and of those that
        are steered, one a seed with the prompts in turn.
    steps : int
        Denoising steps.
    guidance : float, optional
        The pipeline's own by default.
    branch : str
        Of the guidance, which is read and edited.
    controls : int
        Random changes beside the curve.
    batch : int
        Pictures made at once.
    """

    values: Sequence[str]
    at: str
    start: str
    end: str
    places: Sequence[float] | None = None
    period: float | None = None
    question: str = "colour"
    keeps: str = "shape"
    components: int = 7
    waypoints: int = 7
    fit_seeds: Sequence[int] = (1000, 1001)
    seeds: Sequence[int] = (0, 1)
    steps: int = 12
    guidance: float | None = None
    branch: str = "cond"
    controls: int = 1
    batch: int = 16

    def __post_init__(self) -> None:
        check_texts(self, "values")
        check_whole(self, "components", "steps", "batch")
        check_whole(self, "waypoints", least=3)
        check_whole(self, "controls", least=0)
        for name in ("start", "end"):
            self._known(name, getattr(self, name), self.values)
        for name in ("question", "keeps"):
            self._known(name, getattr(self, name), QUESTIONS)
        for value in self.values:
            self._known("values", value, QUESTIONS[self.question])
        if self.start == self.end or len(self.values) < 3:
            raise SteerlabError("PictureManifold: three values or more, of which start and end are two")
        numbers = list(range(len(self.values))) if self.places is None else self.places
        if len(numbers) != len(self.values) or not all(is_number(one) for one in numbers):
            raise SteerlabError(f"PictureManifold: places={self.places!r}; give a number for each value")
        if self.period is not None and not (is_number(self.period) and self.period > 0):
            raise SteerlabError(f"PictureManifold: period={self.period!r} is not a number above 0")
        for name in ("fit_seeds", "seeds"):
            seeds = getattr(self, name)
            if not seeds or not all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in seeds):
                raise SteerlabError(f"PictureManifold: {name}={seeds!r}; give a list of whole numbers")

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables: pictures along the paths, what is seen in each, their means by waypoint, and the values."""
        templates = _templates(data)
        fitted = fit_pictures(
            model, templates, self.fit_seeds, self.at, (self._drawing, self.reader, self.components)
        )
        walks, receipts = self._walks(model, templates, fitted)
        filled = tables(walks, fitted, self.reader, (self.start, self.end))
        return Report(
            title=f"Pictures steered from {self.start} to {self.end} at {self.at}",
            about=f"One picture a seed, {len(self.seeds)} in all, from {len(templates)} prompts; manifold of "
            f"{len(self.values)} values, as asked in {fitted.told['as asked']:.0%} of their own pictures; "
            f"{fitted.told['between']:.0%} of the variance inside the object lies between values, and where "
            f"the object is can be read with R2 = {fitted.told['read']:.2f}.",
            tables=filled,
            plots=plots(self.reader, filled, (self.question, self.keeps)),
            interventions=self._interventions(model, fitted),
            evidence=found(walks, fitted, self.reader, (self.start, self.end)),
            receipts=tuple(receipts),
        )

    def passes(self, model: Model, data: Any) -> float:
        """Every value's pictures once, both ends, and each waypoint of each way, at every step."""
        fit = len(_templates(data)) * len(self.fit_seeds) * len(self.values)
        return self.steps * (fit + len(self.seeds) * (2 + self.waypoints * (2 + self.controls)))

    @property
    def reader(self) -> Reader:
        """What is asked of pictures."""
        places = range(len(self.values)) if self.places is None else self.places
        at = torch.tensor([float(one) for one in places], dtype=torch.float64)
        return Reader(tuple(self.values), at, self.period, self.question)

    @property
    def _drawing(self) -> Drawing:
        return Drawing(self.steps, self.guidance, self.batch, self.branch)

    def _walks(self, model: Model, templates: Sequence[str], fitted: Fitted) -> tuple[list[Walk], list[str]]:
        """Each way's pictures, read batch by batch, beside the pictures that both ends' prompts draw."""
        scenes = [(templates[i % len(templates)], seed) for i, seed in enumerate(self.seeds)]
        asks = [template for template, _ in scenes]
        ends = [
            self._drawn(model, fitted, [ask.format(value=value) for ask in asks], scenes, None)[0]
            for value in (self.start, self.end)
        ]
        where = changed(torch.stack(ends, 1).float() / 255)
        before = answers(ends[0].float() / 255, self.keeps)
        walks, receipts = [], []
        lines = list(self._ways(fitted))
        bar = tqdm(total=len(lines) * self.waypoints, desc="steering", disable=None, leave=False)
        prompts = [ask.format(value=self.start) for ask in asks]
        with bar:
            for name, edits in lines:
                walk = Walk(name, before, where, (self.question, self.keeps))
                for edit in edits:
                    pixels, said = self._drawn(model, fitted, prompts, scenes, edit)
                    walk.add(pixels, self.reader)
                    bar.update()
                walks.append(walk)
                receipts.append(f"{name}, last waypoint: {said}")
        return walks, receipts

    def _ways(self, fitted: Fitted) -> Iterator[tuple[str, list[Edit]]]:
        """Name of each way, and the edit of each of its waypoints."""
        man = fitted.manifold
        paths = {
            "curve": man.path(self.start, self.end, count=self.waypoints),
            "line": man.path(self.start, self.end, count=self.waypoints, mode="linear_subspace"),
        }
        edits = {
            name: [fitted.there(Replace(point, path.basis)) for point in path.points]
            for name, path in paths.items()
        }
        yield from edits.items()
        for seed in range(self.controls):
            yield f"random {seed}", [RandomControl(edit, seed) for edit in edits["curve"]]

    def _drawn(
        self,
        model: Model,
        fitted: Fitted,
        prompts: Sequence[str],
        scenes: Sequence[tuple[str, int]],
        edit: Edit | None,
    ) -> tuple[torch.Tensor, str]:
        """Bytes ``[picture, 3, row, column]``, and what the edit did in the last of their batches."""
        changes = None if edit is None else {self.at: edit.on(branch=self.branch)}
        seeds, parts, receipt = [seed for _, seed in scenes], [], ""
        for start in range(0, len(prompts), self.batch):
            part = slice(start, start + self.batch)
            what = f"{prompts[part]} from {seeds[part]} under {edit} of {fitted.told} by {self._drawing}"
            said = ""

            def draw(part: slice = part) -> torch.Tensor:
                nonlocal said
                pixels, said = self._drawing.pictures(model, prompts[part], seeds[part], changes)
                return (255 * pixels).round().byte()

            parts.append(kept(what, draw))
            receipt = kept_texts(f"receipt of {what}", lambda said=said: said)
        return torch.cat(parts), receipt

    def _interventions(self, model: Model, fitted: Fitted) -> Mapping[str, Intervention]:
        """To each value, and one step along from wherever a picture is."""
        man, named = fitted.manifold, {}
        for value in self.values:
            edit = fitted.there(Replace(man.point(value), man.subspace))
            named[f"to {value}"] = made_on(
                model, {self.at: edit.on(branch=self.branch)}, f"objects become {value}: fitted at {self.at}"
            )
        step = man.shift(self.values[0], self.values[1])
        edit = fitted.there(Move(man, step))
        named["one step along"] = made_on(
            model,
            {self.at: edit.on(branch=self.branch)},
            f"objects move on by {float(step[0]):g}, as {self.values[1]} is from {self.values[0]}",
        )
        return named

    def _known(self, setting: str, value: Any, known: Sequence[str]) -> None:
        if value not in known:
            near = nearest(str(value), known)
            raise SteerlabError(f"PictureManifold: {setting}={value!r}{near} (known: {listing(known)})")


def _templates(data: Any) -> list[str]:
    """Prompts with a place for the value."""
    asked = [data] if isinstance(data, str) else list(data)
    for one in asked:
        if not isinstance(one, str) or "{value}" not in one:
            raise SteerlabError(f"PictureManifold: the prompt {one!r} has no {{value}} in it")
    return asked
