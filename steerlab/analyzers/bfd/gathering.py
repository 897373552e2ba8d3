"""Moments of queries, keys and the stream, gathered from inputs in chunks; memory does not grow with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from steerlab.activations import Activations
from steerlab.analyzers.bfd.design import Design, count_of, part_of, shuffled
from steerlab.errors import SteerlabError
from steerlab.keeping import kept, kept_texts
from steerlab.model import Model
from steerlab.numerics.anova import FactorModel, FactorMoments
from steerlab.sites import Site

PROJECTIONS = {"q": "q_proj", "k": "k_proj"}  # modules whose outputs are rotated afterwards, where any are
Moments = dict[str, FactorMoments]


@dataclass(frozen=True)
class Layout:
    """What is gathered from each forward: names of moments, their sites and shapes.

    Parameters
    ----------
    design : Design
        The tokens.
    shapes : mapping
        Name of the moments -> ``(position, (head,) dim)``.
    scales : mapping
        Place -> what multiplies ``q . k`` there.
    before : mapping
        Place -> modules whose outputs are queries and keys before they are rotated.
    """

    design: Design
    shapes: Mapping[str, tuple[int, ...]]
    scales: Mapping[str, float]
    before: Mapping[str, Mapping[str, str]]

    def written(self) -> dict[str, Any]:
        """As JSON."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        before = {place: dict(paths) for place, paths in self.before.items()}
        return {
            "design": self.design.written(),
            "shapes": shapes,
            "scales": dict(self.scales),
            "before": before,
        }

    @staticmethod
    def read(plain: Mapping[str, Any]) -> Layout:
        """What `written` gave."""
        shapes = {name: tuple(shape) for name, shape in plain["shapes"].items()}
        return Layout(Design.read(plain["design"]), shapes, plain["scales"], plain["before"])


@dataclass(frozen=True, eq=False)
class Gathered:
    """Moments of chunks of the inputs, by name: ``"blocks.3.q"``, ``"blocks.3.k cls"``, ``"blocks.3.resid"``.

    Parameters
    ----------
    places : list of str
        The blocks.
    layout : Layout
        What they are moments of.
    chunks : list of mapping
        One of moments a chunk of the inputs.
    """

    places: Sequence[str]
    layout: Layout
    chunks: Sequence[Moments]

    def model(self, name: str) -> FactorModel:
        """The factors over all inputs."""
        return self._merged(name, range(len(self.chunks)))

    def halves(self, name: str) -> tuple[FactorModel, FactorModel]:
        """The factors over the first and the second half of the chunks."""
        middle = len(self.chunks) // 2
        return self._merged(name, range(middle)), self._merged(name, range(middle, len(self.chunks)))

    def quarters(self, name: str) -> tuple[FactorModel, FactorModel]:
        """The factors over the two parts of the first half of the chunks."""
        middle = len(self.chunks) // 2
        return self._merged(name, range(middle // 2)), self._merged(name, range(middle // 2, middle))

    def left_out(self, names: Sequence[str]) -> Iterator[list[FactorModel]]:
        """The factors of some names without one chunk at a time."""
        count = len(self.chunks)
        before, after = [[FactorMoments() for _ in names]], [[FactorMoments() for _ in names]]
        for kind, order in ((before, range(count - 1)), (after, range(count - 1, 0, -1))):
            for i in order:
                kind.append([_sum(one, self.chunks[i][n]) for one, n in zip(kind[-1], names, strict=True)])
        for i in range(count):
            both = zip(before[i], after[count - 1 - i], strict=True)
            yield [_sum(one, other).finalize() for one, other in both]

    def sides(self, place: str, suffix: str = "") -> tuple[FactorModel, FactorModel]:
        """Queries and keys of a block, with as many heads each."""
        return paired(self.model(f"{place}.q{suffix}"), self.model(f"{place}.k{suffix}"))

    def _merged(self, name: str, chunks: Sequence[int]) -> FactorModel:
        if name not in self.layout.shapes:
            raise SteerlabError(f"nothing was gathered at {name!r}")
        total = FactorMoments()
        for i in chunks:
            total = _sum(total, self.chunks[i][name])
        return total.finalize()


def paired(query: FactorModel, key: FactorModel) -> tuple[FactorModel, FactorModel]:
    """The same, with the heads of keys repeated for the query heads that share them."""
    return query, key.repeated(len(query.mu) // len(key.mu))


def gather(
    model: Model, data: Any, at: str | Sequence[str] = "blocks.*.q", *, batch: int = 4, chunks: int = 10
) -> Gathered:
    """Go once over the inputs and keep moments of queries, keys and the stream of some blocks.

    Queries and keys are those that meet, after any rotation; where they are rotated, those before it are
    gathered as ``"blocks.3.q before"``, and with positions shuffled within each input as ``"... shuffled"``.

    Parameters
    ----------
    model : Model
        The model.
    data : sequence
        Inputs with the same positions: pictures, clips, token ids ``[text, token]``, texts of equal length,
        or an object with a length whose slices are such.
    at : str or list of str
        Queries, wildcards included.
    batch : int
        Inputs in a forward.
    chunks : int
        Parts of the inputs whose moments are kept apart, for confidence intervals.
    """
    from tqdm.auto import tqdm

    places = _places(model, at)
    count = count_of(data)
    if count < 2 * chunks:
        raise SteerlabError(f"{count} inputs in {chunks} chunks: factors need 2 inputs or more in each")
    layout = Layout.read(
        kept_texts(f"factors of {places}", lambda: _layout(model, part_of(data, 0, 2), places).written())
    )
    edges = [round(i * count / chunks) for i in range(chunks + 1)]
    found = []
    with tqdm(total=count, desc="factors", unit="input", disable=None) as bar:

        def chunk(start: int, stop: int) -> torch.Tensor:
            moments = _empty(layout)
            for first in range(start, stop, batch):
                last = min(first + batch, stop)
                _read(model, part_of(data, first, last), layout, (moments, first))
                bar.update(last - first)
            return torch.cat([one.packed() for one in moments.values()])

        for start, stop in zip(edges, edges[1:], strict=False):
            packed = kept(f"factors {places} {batch} {start} {stop}", partial(chunk, start, stop))
            found.append(_unpacked(packed, layout))
            bar.update(stop - bar.n)
    return Gathered(places, layout, found)


def _places(model: Model, at: str | Sequence[str]) -> list[str]:
    sites = model.sites(at)
    for site in sites:
        if site.stream != "q" or site.heads:
            raise SteerlabError(f"{site}: name the queries of whole blocks, as 'blocks.*.q'")
    return [site.place for site in sites]


def _layout(model: Model, few: Any, places: Sequence[str]) -> Layout:
    """Shapes and scales, from two inputs."""
    design, shapes, scales, before = None, {}, {}, {}
    for place in places:
        q, k, resid = f"{place}.q", f"{place}.k", f"{place}.resid"
        paths = _projections(model, place)
        acts = model.capture(few, [q, k, resid, f"{place}.scores", *(f"module:{p}" for p in paths.values())])
        tokens = acts.map_of(q)
        design = Design.of(tokens) if design is None else design
        design.check(tokens)
        for name, heads in ((q, acts[q].shape[2:]), (k, acts[k].shape[2:])):
            shapes[name] = shapes[f"{name} shuffled"] = (design.positions, *heads)
            shapes |= {f"{name} {special}": (1, *heads) for special in design.apart}
        shapes[resid] = (design.positions, acts[resid].shape[-1])
        scales[place] = _scale(acts[q][:1], acts[k][:1], acts[f"{place}.scores"][:1])
        rotated = {side: f"module:{path}" for side, path in paths.items() if _differ(acts, place, side, path)}
        if len(rotated) == 2:
            before[place] = rotated
            shapes |= {f"{place}.{side} before": shapes[f"{place}.{side}"] for side in rotated}
    return Layout(design, shapes, scales, before)


def _scale(q: torch.Tensor, k: torch.Tensor, scores: torch.Tensor) -> float:
    """What ``q . k`` is multiplied by, by least squares over the pairs that are not masked."""
    k = k.repeat_interleave(q.shape[2] // k.shape[2], 2)
    plain = torch.einsum("bqhd,bkhd->bhqk", q.double(), k.double())
    seen = torch.isfinite(scores) & (scores > torch.finfo(scores.dtype).min / 2)
    plain, scores = plain[seen], scores.double()[seen]
    return float((plain * scores).sum() / plain.square().sum())


def _projections(model: Model, place: str) -> dict[str, str]:
    """The modules that make queries and keys of a block, where they are found by name; none in a tower."""
    tower, _, block = place.rpartition("blocks.")
    found: dict[str, str] = {}
    if tower:  # a module by its path would need the inputs of the whole model
        return found
    for side, word in PROJECTIONS.items():
        names = [
            name
            for name, _ in model.module.named_modules()
            if re.search(rf"\.{block}\.(?!.*\d+\.)", name) and name.endswith(f".{word}")
        ]
        if len(names) == 1:
            found[side] = names[0]
    return found


def _differ(acts: Activations, place: str, side: str, path: str) -> bool:
    seen = acts[f"{place}.{side}"]
    plain = acts[f"module:{path}"]
    return plain.shape == seen.flatten(2).shape and not torch.allclose(plain, seen.flatten(2), atol=1e-5)


def _empty(layout: Layout) -> Moments:
    return {name: FactorMoments(diagonal=name.endswith(".resid")) for name in layout.shapes}


def _read(model: Model, inputs: Any, layout: Layout, into: tuple[Moments, int]) -> None:
    """Add one batch of inputs, whose first has a number, to moments."""
    moments, first = into
    design = layout.design
    own = {Site.parse(name.split(" ")[0]) for name in moments}
    sources = {f"{place}.{side} before": at for place, by in layout.before.items() for side, at in by.items()}
    acts = model.capture(inputs, [*dict.fromkeys(own), *sources.values()])
    generator = torch.Generator().manual_seed(first)
    order = None
    for name, one in moments.items():
        site, _, part = name.partition(" ")
        x = acts[sources.get(name, site)]
        if order is None:
            design.check(acts.map_of(site))
            order = torch.rand(len(x), design.positions, generator=generator).argsort(1)
        if name in sources:
            x = x.unflatten(-1, layout.shapes[name][1:])
        if part in design.apart:
            x = x[:, design.apart[part], None]
        else:
            x = x[:, design.start : design.stop]
        one.update(shuffled(x, order) if part == "shuffled" else x)


def _unpacked(packed: torch.Tensor, layout: Layout) -> Moments:
    found, start = {}, 0
    for name, shape in layout.shapes.items():
        *places, dim = shape
        diagonal = name.endswith(".resid")
        heads = torch.Size(places[1:]).numel()
        size = 1 + torch.Size(shape).numel() + 2 * heads * dim * (1 if diagonal else dim)
        found[name] = FactorMoments.unpacked(packed[start : start + size], shape, diagonal=diagonal)
        start += size
    return found


def _sum(one: FactorMoments, other: FactorMoments) -> FactorMoments:
    """Both together; neither is changed."""
    return FactorMoments().merge(one).merge(other)
