"""The nnsight engine: the edits and reads of `steerlab` in one nnsight trace, here or on a server.

The change at a site is the very function that the hooks of `Model.edit` run; this file only says where a
trace takes an activation and puts it back. Sites inside attention (queries, keys, values, scores, patterns)
have no module in the trace; they keep their native taps while it runs, so they do not travel to a server.

An edit of the native engine also acts inside a trace of your own, ``with model.edit(...), lm.trace(...)``.
Hooks run around what nnsight sees of a module: such a change shows in the ``.input`` of the module it was
made at, but not in its ``.output``. Read it downstream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import nnsight
import torch
from torch import nn

from steerlab import taps
from steerlab.activations import Activations
from steerlab.backends.acts import changing, given_only, keeping, kept, remembering
from steerlab.backends.portable import check_portable
from steerlab.backends.tracing import Jobs, trace, traceable
from steerlab.editing import change_at, chosen_axes
from steerlab.errors import SteerlabError, listing
from steerlab.intervention import Changes, placed, refuse_compiled
from steerlab.model import Model
from steerlab.moment import Moment
from steerlab.points import Point, Tap
from steerlab.receipts import Entry, Receipt
from steerlab.sites import Site
from steerlab.tokens import TokenMap

Found = tuple[tuple[Site, Point], ...]


@dataclass(frozen=True, eq=False)
class Traced:
    """What one trace gave.

    Parameters
    ----------
    output : object
        What the model returned.
    activations : Activations
        What was read, after every edit; empty where nothing was asked for.
    receipt : Receipt
        What the edits did.
    """

    output: Any
    activations: Activations
    receipt: Receipt


@dataclass(frozen=True, eq=False)
class ToldClock:
    """A clock that was told the tokens before the run, and so can travel with a request.

    Parameters
    ----------
    towers : mapping
        Tower prefix -> token map, or None where the inputs say nothing of the tokens.
    """

    towers: Mapping[str, TokenMap | None]
    tells_time: ClassVar[bool] = False

    def moment(self, prefix: str) -> Moment:
        """Where the tower's only forward stands."""
        return Moment(self.towers[prefix])


def run(
    model: Model,
    inputs: Any,
    *,
    edit: Changes | None = None,
    at: str | Site | Iterable[str | Site] = (),
    remote: bool | str = False,
) -> Traced:
    """Edit and read in one forward, without gradients, inside one nnsight trace.

    Parameters
    ----------
    model : Model
        From `steerlab.wrap`. If it was made from an nnsight model, that one is traced and the edits it
        carries itself act too; otherwise the module is wrapped for this call and restored afterwards.
    inputs : object
        As for `Model.capture`. The model gets them as they are: position ids that nnsight's language models
        add to rows padded on the left are taken off again. A model of two towers needs the inputs of both.
    edit : dict, optional
        Sites and edits.
    at : site or list of sites, optional
        What to read.
    remote : bool or "local"
        True runs on NDIF, which needs an nnsight model that names its checkpoint. ``"local"`` packs and
        unpacks the request as NDIF does and then runs it here. Neither takes edits that nnsight cannot
        rebuild from their source; True takes no sites inside attention.

    Returns
    -------
    Traced
        Output, activations and receipt. Tensors and the numbers of the receipt come back from a server with
        the saved values; what else an edit changes there (a list it appends to, a random generator) does not.

    Examples
    --------
    >>> import steerlab as sl
    >>> model = sl.wrap(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    >>> traced = run(model, torch.ones(1, 2), edit={"module:0": sl.Zero()}, at="module:1")
    >>> traced.activations["module:1"]
    tensor([[0., 0.]])
    """
    if not isinstance(model.module, nn.Module):
        raise SteerlabError(
            f"{type(model.module).__name__} is a pipeline, which nnsight cannot trace as one forward; "
            "wrap one of its modules, or use model.edit and model.read around your own call"
        )
    if remote not in (False, True, "local"):
        raise SteerlabError(f'remote={remote!r}: give False, True or "local"')
    kwargs = model.family.prepare(inputs, model.processor, model.module)
    found = () if not isinstance(at, (str, Site)) and not (at := tuple(at)) else model._points.find(at)
    refuse_compiled(found)
    work = placed(edit, model._points) if edit is not None else []
    _refuse_remote([(site, point) for site, point, _ in work] + list(found), remote)
    maps = _maps(model, kwargs, {point.tower for _, point, _ in work} | {point.tower for _, point in found})
    clock = ToldClock({prefix: _spelled(tokens) for prefix, tokens in maps.items()} if remote else maps)

    receipt, values, native = Receipt(), {}, []
    jobs: Jobs = {(model.module, "input"): [given_only(frozenset(kwargs))]}
    paths = {module: path for path, module in model.module.named_modules()}
    for site, point, scoped in work:
        if remote:
            for package in check_portable(site, scoped.edit):
                nnsight.register(package)
        receipt.entries.append(Entry(site, repr(scoped)))
        change = change_at(site, point, scoped, None, receipt.entries[-1], clock)
        if _inside_attention(point):
            native.append(Tap(point, change=change))
        else:
            acts = jobs.setdefault((point.module, point.side), [])
            acts.append(changing(point.side, point.layout, _anchor(point, paths), change))
    points = [point for _, point, _ in work] + [point for _, point in found]
    for anchor in dict.fromkeys(point.anchor for point in points if point.anchor is not None):
        jobs.setdefault((anchor, "input"), []).append(remembering(paths[anchor]))
    for index, (site, point) in enumerate(found):
        axis, heads = _heads(site, point)
        if _inside_attention(point):
            native.append(Tap(point, store=_storing(values, index, point, axis, heads)))
        else:
            keep = keeping(
                index, point.side, point.layout, _anchor(point, paths), (axis, heads, point.volatile)
            )
            jobs.setdefault((point.module, point.side), []).append(keep)

    with traceable(model, remote) as traced:
        installed = taps.install(native)
        try:
            output, reads, numbers = trace(traced, kwargs, jobs, receipt.entries, remote)
        finally:
            installed.remove()
    for entry, found_there in zip(receipt.entries, numbers, strict=True):
        vars(entry).update(found_there)
    receipt.check()
    return Traced(output, _activations(found, values | reads, maps), receipt)


def _refuse_remote(asked: Sequence[tuple[Site, Point]], remote: bool | str) -> None:
    inside = [site for site, point in asked if _inside_attention(point)]
    if remote is True and inside:
        raise SteerlabError(
            f"{listing(inside)}: sites inside attention are found through the attention function of this "
            'process, which does not travel to NDIF; use heads, attn or remote="local"'
        )


def _inside_attention(point: Point) -> bool:
    return point.side not in ("input", "output")


def _anchor(point: Point, paths: Mapping[nn.Module, str]) -> str | None:
    return None if point.anchor is None else paths[point.anchor]


def _heads(site: Site, point: Point) -> tuple[int, Any]:
    heads = site.select(point.heads) if site.heads else None
    return (point.axes.index("head") if heads is not None else 0), heads


def _storing(values: dict, index: int, point: Point, axis: int, heads: Any) -> Callable[[torch.Tensor], None]:
    def store(x: torch.Tensor) -> None:
        values.setdefault(index, []).append(kept(x, axis, heads, point.volatile))

    return store


def _maps(model: Model, inputs: dict[str, Any], towers: set[str]) -> dict[str, TokenMap | None]:
    """The tokens of the asked towers, from the inputs of the model."""
    return {
        prefix: model.family.towers[prefix].tokens(root, inputs, model.processor)
        for prefix, root in model._roots.items()
        if prefix in towers
    }


def _spelled(tokens: TokenMap | None) -> TokenMap | None:
    """The same map with the pieces of its ids spelled out, so that no tokenizer travels."""
    if tokens is None or tokens.ids is None or tokens.pieces is None:
        return tokens
    known = tokens.ids.unique().tolist()
    words = dict(zip(known, tokens.pieces(known), strict=True))
    return replace(tokens, pieces=lambda ids: [words[number] for number in ids])


def _activations(
    found: Found, values: Mapping[int, list], maps: Mapping[str, TokenMap | None]
) -> Activations:
    tensors, axes = {}, {}
    missing = [site for index, (site, _) in enumerate(found) if index not in values]
    if missing:
        raise SteerlabError(f"{listing(missing)}: never ran in this forward")
    for index, (site, point) in enumerate(found):
        fires, axes[site] = values[index], chosen_axes(point.axes, _heads(site, point)[1])[0]
        if point.fires != 1 and len(fires) > 1:
            shapes = sorted({tuple(x.shape) for x in fires})
            if len(shapes) > 1:
                raise SteerlabError(f"{site} fired with different shapes: {listing(shapes)}")
            tensors[site], axes[site] = torch.stack(fires), ("call", *axes[site])
        else:
            tensors[site] = fires[-1]
    return Activations(tensors, axes, {site: maps.get(point.tower) for site, point in found})
