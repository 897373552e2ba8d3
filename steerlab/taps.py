"""Taps: the only file that registers torch hooks. Installed in scopes, removed in reverse, always.

Edits go before every other hook of a module, so that whoever listens there (transformers' own recorders,
the user) sees the edited value; reads go behind them, so that they see what really goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from steerlab import attention
from steerlab.layouts import first_tensor, with_first
from steerlab.points import Point, Stash, Tap


class Stop(Exception):
    """Ends a forward after the last read; never seen outside of `steerlab`."""


class Countdown:
    """Reads still missing; the one that makes it zero ends the forward."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class Installed:
    """The handles of one scope. `remove` takes them off in reverse order and may be called twice.

    Attributes
    ----------
    lost : list of Module
        After `remove`: where somebody else had taken a change off.
    """

    __slots__ = ("_removers", "lost", "stash")

    def __init__(self) -> None:
        self._removers: list[Callable[[], None]] = []
        self.lost: list[nn.Module] = []
        self.stash: Stash = {}

    def keep(self, remover: Callable[[], None]) -> None:
        """Remember how to undo one installation."""
        self._removers.append(remover)

    def remove(self) -> None:
        """Undo everything."""
        while self._removers:
            self._removers.pop()()
        self.stash.clear()


def install(taps: Sequence[Tap], countdown: Countdown | None = None) -> Installed:
    """Put taps on their modules; a failure half-way leaves nothing behind.

    Changes at one module act in the order of installation, which is the order of the contexts and of the
    list. `countdown` is lowered by every read.
    """
    installed = Installed()
    countdown = countdown or Countdown(0)
    keep = installed._removers.append
    try:
        for tap in taps:
            point = tap.point
            if point.anchor is not None or point.projected is not None:
                tap.stash = installed.stash
                _remember(installed, point)
            if point.projected is not None:
                keep(_change(_counted(tap, countdown), installed.lost))
            elif point.side not in ("input", "output"):
                keep(attention.install(point.module, _counted(tap, countdown)))
            elif tap.change is not None:
                keep(_change(tap, installed.lost))
            elif point.side == "output":
                hook = _read_plainly(tap.store, countdown) if tap.plain else _read(tap, countdown)
                keep(point.module.register_forward_hook(hook).remove)
            else:
                keep(
                    point.module.register_forward_pre_hook(
                        _read_input(tap, countdown), with_kwargs=True
                    ).remove
                )
    except BaseException:
        installed.remove()
        raise
    return installed


def install_reads(
    installed: Installed,
    modules: Sequence[nn.Module],
    stores: Sequence[Callable[[torch.Tensor], Any]],
    countdown: Countdown | None = None,
) -> None:
    """Read what these modules pass on, as it is; the cheapest read there is.

    Registering through the method costs eight Python calls a module, with the handle's; the hooks of all
    modules are entered into torch's own table here, under a number that torch gives out.
    """
    countdown = countdown or Countdown(0)
    number = RemovableHandle.next_id
    RemovableHandle.next_id = number + len(modules)
    entered: list[tuple[dict, int]] = []

    def remove() -> None:
        for table, key in reversed(entered):
            table.pop(key, None)

    installed.keep(remove)
    for module, store in zip(modules, stores, strict=True):
        table = module._forward_hooks
        table[number] = _read_plainly(store, countdown)
        entered.append((table, number))
        number += 1


def before(
    module: nn.Module, look: Callable[[tuple, dict], None], *, first: bool = False
) -> Callable[[], None]:
    """Call ``look(args, kwargs)`` before every forward of `module`, and before its hooks if `first`."""
    return module.register_forward_pre_hook(
        lambda _, args, kwargs: look(args, kwargs), with_kwargs=True, prepend=first
    ).remove


def after(module: nn.Module, look: Callable[[tuple, dict, Any], None]) -> Callable[[], None]:
    """Call ``look(args, kwargs, output)`` after every forward of `module`; returns the remover."""
    return module.register_forward_hook(
        lambda _, args, kwargs, output: look(args, kwargs, output), with_kwargs=True
    ).remove


def hooks_on(module: nn.Module) -> list[str]:
    """Names of the forward hooks on `module`, whoever registered them."""
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    return [
        f"{getattr(hook, '__module__', '?')}.{getattr(hook, '__qualname__', repr(hook))}" for hook in hooks
    ]


def changed_by_us(model: nn.Module) -> nn.Module | None:
    """A module below `model` whose activation an edit changes now, or None."""
    below = set(model.modules())
    return next((module for module, _ in _LINES if module in below), None)


def _read_plainly(store: Callable[[torch.Tensor], Any], countdown: Countdown) -> Callable:
    def read(module, args, output):
        store(output if isinstance(output, torch.Tensor) else first_tensor(output))
        countdown.left -= 1
        if not countdown.left:
            raise Stop

    return read


def _read(tap: Tap, countdown: Countdown) -> Callable:
    def read(module, args, output):
        tap.run(first_tensor(output))
        countdown.left -= 1
        if not countdown.left:
            raise Stop

    return read


def _read_input(tap: Tap, countdown: Countdown) -> Callable:
    def read(module, args, kwargs):
        tap.run(_given(args, kwargs))
        countdown.left -= 1
        if not countdown.left:
            raise Stop

    return read


def _counted(tap: Tap, countdown: Countdown) -> Tap:
    """A tap of the attention seam that lowers the countdown when it stores."""
    if tap.store is None:
        return tap

    def store(x: torch.Tensor) -> None:
        tap.store(x)
        countdown.left -= 1
        if not countdown.left:
            raise Stop

    counted = Tap(tap.point, store=store)
    counted.stash = tap.stash
    return counted


def _given(args: tuple, kwargs: dict[str, Any]) -> torch.Tensor:
    """The stream that a module is given: its first argument, by place or by name."""
    return first_tensor(args[0] if args else next(iter(kwargs.values())))


class _Line:
    """The changes at one side of one module, in the order of installation, behind a single hook."""

    __slots__ = ("handle", "hooks", "inner", "key", "taps")

    def __init__(self, module: nn.Module, side: str) -> None:
        self.key, self.taps = (module, side), []
        # scores and patterns of projected attention act where its heads leave, before the heads do
        self.inner: list[Tap] = []
        if side == "output":
            self.handle = module.register_forward_hook(self.after, prepend=True)
            self.hooks = module._forward_hooks
        else:
            self.hooks = module._forward_pre_hooks
            self.handle = module.register_forward_pre_hook(self.before, with_kwargs=True, prepend=True)

    def after(self, module, args, output):
        raw = output if isinstance(output, torch.Tensor) else first_tensor(output)
        new = raw
        for tap in self.taps:
            new = tap.change(new) if tap.plain else tap.run(new)
        if new is raw:
            return None
        return new if raw is output else with_first(output, new)

    def before(self, module, args, kwargs):
        raw = _given(args, kwargs)
        new = attention.run_projected(self.inner, raw) if self.inner else raw
        for tap in self.taps:
            new = tap.change(new) if tap.plain else tap.run(new)
        if new is raw:
            return None
        if args:
            return (with_first(args[0], new), *args[1:]), kwargs
        name = next(iter(kwargs))
        return args, {**kwargs, name: with_first(kwargs[name], new)}


_LINES: dict[tuple[nn.Module, str], _Line] = {}


def _change(tap: Tap, lost: list[nn.Module]) -> Callable[[], None]:
    """Add a tap to its module's line; returns the remover, which notes in `lost` what is there no more."""
    point = tap.point
    key = (point.module, point.side) if point.projected is None else (point.projected.out, "input")
    line = _LINES.get(key)
    if line is None:
        line = _LINES[key] = _Line(*key)
    taps = line.taps if point.projected is None else line.inner
    taps.append(tap)

    def remove() -> None:
        taps.remove(tap)
        if line.handle.id not in line.hooks:
            lost.append(key[0])
        if not line.taps and not line.inner:
            line.handle.remove()
            del _LINES[line.key]

    return remove


def _remember(installed: Installed, point: Point) -> None:
    """Keep what a relative, flat or projected point needs from elsewhere in the block."""
    stash = installed.stash

    def given_to(module, args, kwargs):
        stash[module] = _given(args, kwargs)

    def arguments_of(module, args, kwargs):
        stash[module] = kwargs

    def gave(module, args, output):
        stash[module] = first_tensor(output)

    if point.anchor is not None and point.anchor not in stash:
        stash[point.anchor] = None
        installed.keep(point.anchor.register_forward_pre_hook(given_to, with_kwargs=True).remove)
    projected = point.projected
    if projected is not None and projected.module not in stash:
        stash[projected.module] = {}
        installed.keep(projected.module.register_forward_pre_hook(arguments_of, with_kwargs=True).remove)
        for source in projected.modules():
            installed.keep(source.register_forward_hook(gave).remove)
