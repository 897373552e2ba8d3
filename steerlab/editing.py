"""Edits put to work: from interventions to taps, with receipts and a clock, in one context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from steerlab import taps
from steerlab.clock import Clock
from steerlab.edits import Edit, Scoped
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes, Placed, listed, placed
from steerlab.moment import Moment
from steerlab.points import Point, Points
from steerlab.receipts import Entry, Receipt, note
from steerlab.sites import Site


@dataclass(frozen=True, eq=False)
class Arm:
    """An intervention for some rows of the batch; None for all of them."""

    intervention: Changes
    rows: slice | None = None


def arms_from(interventions: Changes | Sequence[Changes | None], *, as_rows: bool) -> list[Arm]:
    """One arm for an intervention, or one for each row of the batch.

    Parameters
    ----------
    interventions : mapping or sequence
        The intervention of all rows, or one a row; None leaves the row alone.
    as_rows : bool
        Whether a row is an entry of the batch. Otherwise it is an image, wherever the batch holds it.
    """
    if not isinstance(interventions, list):
        return [Arm(interventions)]
    arms = []
    for row, one in enumerate(interventions):
        if one is None:
            continue
        if as_rows:
            arms.append(Arm(one, slice(row, row + 1)))
            continue
        edits = {
            at: [edit.on() if isinstance(edit, Edit) else edit for edit in e] for at, e in listed(one).items()
        }
        taken = [edit for many in edits.values() for edit in many if edit.scope.rows is not None]
        if taken:
            raise SteerlabError(
                f"{taken[0]!r} chooses rows, but a list of interventions gives each row its own"
            )
        arms.append(Arm({at: [edit.on(rows=[row]) for edit in many] for at, many in edits.items()}))
    if not arms:
        raise SteerlabError("the list holds no intervention: every row is None")
    return arms


class Editing:
    """A context in which interventions act on every call of a model.

    Parameters
    ----------
    points : Points
        The model's sites.
    clock : Clock
        Who knows the tokens of a forward.
    arms : sequence of Arm
        What to do on which rows.
    strict : bool
        Whether an edit that never fires, or whose scope chooses nothing, is an error.
    """

    def __init__(self, points: Points, clock: Clock, arms: Sequence[Arm], *, strict: bool = True) -> None:
        self._clock = clock
        self._strict = strict
        self._work: list[tuple[Arm, Placed]] = [
            (arm, one) for arm in arms for one in placed(arm.intervention, points)
        ]
        self._installed: taps.Installed | None = None
        self.receipt = Receipt()

    def __enter__(self) -> Receipt:
        if self._installed is not None:
            raise SteerlabError("this context is entered already; make a new one with model.edit(...)")
        self.receipt = Receipt()
        listening = dict.fromkeys(
            point.tower for _, (_, point, edit) in self._work if is_clocked(edit, point, self._clock)
        )
        installed = taps.install([self._tap(arm, *one) for arm, one in self._work])
        try:
            if listening:
                installed.keep(self._clock.follow())
            for prefix in listening:
                installed.keep(self._clock.listen(prefix))
        except BaseException:
            installed.remove()
            raise
        self._installed = installed
        return self.receipt

    def __exit__(self, kind, fault, trace) -> None:
        installed, self._installed = self._installed, None
        installed.remove()
        if kind is None and self._strict:
            if installed.lost:
                where = type(installed.lost[0]).__name__
                raise SteerlabError(
                    f"somebody took steerlab's hooks off {where} inside the context (some libraries clear "
                    "all hooks when they are done), so later calls were not edited; run the other library "
                    "outside of it (strict=False accepts this)"
                )
            self.receipt.check()

    def towers(self) -> set[str]:
        """Prefixes of the towers that are edited."""
        return {point.tower for _, (_, point, _) in self._work}

    def streams(self) -> set[str]:
        """Streams that are edited."""
        return {site.stream for _, (site, _, _) in self._work}

    def _tap(self, arm: Arm, site: Site, point: Point, edit: Scoped) -> taps.Tap:
        entry = Entry(site, repr(edit), on_purpose=edit.scope.strength == 0 or edit.edit.changes_nothing)
        self.receipt.entries.append(entry)
        return taps.Tap(point, change=change_at(site, point, edit, arm.rows, entry, self._clock))


def change_at(
    site: Site, point: Point, edit: Scoped, rows: slice | None, entry: Entry, clock: Clock
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function from an activation to the edited one, for one edit at one site."""
    axes, heads = chosen_axes(point.axes, site.select(point.heads))
    finite = site.stream != "scores"
    scope, pure, tower = edit.scope, edit.edit, point.tower
    token_axis = next((i for i, axis in enumerate(axes) if axis in ("token", "query")), None)
    everything, by_token, timed = scope.everything, scope.needs_tokens, scope.is_timed
    clocked = is_clocked(edit, point, clock)

    def change(x: torch.Tensor) -> torch.Tensor:
        moment = None
        if clocked:
            moment = now() if by_token else clock.time(tower)
            if timed and strength_now(moment) == 0 and scope.strength != 0:
                entry.wait(moment)
                return x  # not the time
            entry.mark(moment, scope.branch)
        try:
            y = pure(x)
        except SteerlabError as fact:
            raise SteerlabError(f"{site}: {fact}") from None
        except Exception as fault:
            fault.add_note(f"in {pure!r} at {site}, on an activation {list(x.shape)} ({', '.join(axes)})")
            raise
        if y.shape != x.shape:
            raise SteerlabError(
                f"{site}: {pure!r} returned {list(y.shape)} for an activation {list(x.shape)}"
            )
        if y.dtype is not x.dtype:
            y = y.to(x.dtype)
            entry.casts += 1
        tokens = x.shape[0] if token_axis is None else x.shape[0] * x.shape[token_axis]
        chosen = x
        if scope.strength == 0:  # a dose of nothing, on purpose
            note(entry, x, x, tokens, finite)
            return x
        if not everything:
            weight = weights_at(x, moment or Moment())
            y, tokens = blend(x, y, weight, token_axis)
            chosen = torch.where(weight != 0, x, 0)
        if site.stream == "scores":
            _refuse_blind(site, pure, x, y)
        note(entry, x, y, tokens, finite, chosen)
        return y

    def now() -> Moment:
        moment = clock.moment(tower)
        if rows is not None and moment.tokens is not None:
            moment = replace(moment, tokens=moment.tokens.at_rows(rows))
        return moment

    def strength_now(moment: Moment) -> float:
        try:
            return scope.strength_at(moment)
        except SteerlabError as fact:
            raise SteerlabError(f"{site}: {fact}") from None

    def weights_at(x: torch.Tensor, moment: Moment) -> torch.Tensor:
        try:
            return scope.weights(x.shape, axes, moment, x.device)
        except SteerlabError as fact:
            raise SteerlabError(f"{site}: {fact}") from None

    change = change if heads is None else _at_heads(change, point.axes.index("head"), heads)
    fold = point.shape[0] if point.shape else 1
    return change if rows is None else _at_rows(change, slice(rows.start * fold, rows.stop * fold))


def is_clocked(edit: Scoped, point: Point, clock: Clock) -> bool:
    """Whether an edit needs to know where the run stands, or its receipt wants to say so."""
    return point.tower in clock.towers and (edit.scope.needs_clock or clock.tells_time)


def _refuse_blind(site: Site, edit: Edit, x: torch.Tensor, y: torch.Tensor) -> None:
    """Refuse scores that leave a query without any key, where the model's own mask left it one."""
    blind = (x > -torch.inf).any(-1) & ~(y > -torch.inf).any(-1)
    if bool(blind.any()):
        raise SteerlabError(
            f"{site}: {edit!r} leaves {int(blind.sum())} queries without any key, together with the model's "
            "own mask; keep each query's own token"
        )


def blend(
    x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, token_axis: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """``x`` where the weight is 0, ``y`` where it is 1, ``x + w (y - x)`` between; and tokens chosen."""
    axes = {0} if token_axis is None else {0, token_axis}
    chosen = weight != 0
    # entries of the batch and token axes, whichever of them the weight spells out
    tokens = chosen.expand([x.shape[i] if i in axes else weight.shape[i] for i in range(x.ndim)])
    others = [i for i in range(x.ndim) if i not in axes]
    tokens = torch.count_nonzero(tokens.amax(dim=others) if others else tokens)
    if weight.dtype == torch.bool:
        return torch.where(weight, y, x), tokens
    wide = torch.promote_types(x.dtype, torch.float32)
    mixed = (x.to(wide) + weight.to(wide) * (y.to(wide) - x.to(wide))).to(x.dtype)
    return torch.where(chosen, torch.where(weight == 1, y, mixed), x), tokens


def chosen_axes(
    axes: tuple[str, ...], heads: int | list[int] | None
) -> tuple[tuple[str, ...], int | list[int] | None]:
    """The axes that remain after a choice of heads: one head drops its axis."""
    return (tuple(a for a in axes if a != "head") if isinstance(heads, int) else axes), heads


def _at_heads(change: Callable, axis: int, heads: int | list[int]) -> Callable:
    def change_heads(x: torch.Tensor) -> torch.Tensor:
        if isinstance(heads, int):
            part = x.select(axis, heads)
            y = change(part)
            return x if y is part else x.select_scatter(y, axis, heads)
        index = torch.tensor(heads, device=x.device)
        part = x.index_select(axis, index)
        y = change(part)
        return x if y is part else x.index_copy(axis, index, y)

    return change_heads


def _at_rows(change: Callable, rows: slice) -> Callable:
    def change_rows(x: torch.Tensor) -> torch.Tensor:
        part = x[rows]
        y = change(part)
        return x if y is part else x.slice_scatter(y, 0, rows.start, rows.stop)

    return change_rows
