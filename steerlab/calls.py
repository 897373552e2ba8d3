"""Listening to calls of somebody's methods: `generate` of a model, `step` of a scheduler.

A method is heard by a stand-in on the object itself, never on its class, and only while somebody listens.
Several listeners share one stand-in, so that they may come and go in any order.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

Before = Callable[[dict[str, Any]], None]
After = Callable[[Any], None]

_STANDINS: dict[tuple[int, str], _Standin] = {}


class _Standin:
    """The stand-in for one method of one object, and who listens to it."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name
        self.own = vars(owner).get(name)  # an object may carry a method of its own
        method = getattr(owner, name)
        self.signature = inspect.signature(method)
        self.looks: list[tuple[Before | None, After | None]] = []
        self.sort()

        @functools.wraps(method)
        def called(*args: Any, **kwargs: Any) -> Any:
            before = self.before  # made anew when somebody comes or goes
            given = self._named(args, kwargs) if before else {}
            for look in before:
                look(given)
            result = None
            try:
                result = method(*args, **kwargs)
                return result
            finally:
                for look in self.after:
                    look(result)

        self.called = called
        _put(owner, name, called)

    def sort(self) -> None:
        """Who is told before the call, and who after it."""
        self.before = tuple(before for before, _ in self.looks if before is not None)
        self.after = tuple(after for _, after in self.looks if after is not None)

    @property
    def is_there(self) -> bool:
        """Whether a call of the method still comes by here first."""
        return vars(self.owner).get(self.name) is self.called

    def _named(self, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments by name; wrong ones are left for the method itself to refuse."""
        try:
            bound = self.signature.bind_partial(*args, **kwargs).arguments
        except TypeError:
            return dict(kwargs)
        for name, parameter in self.signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                bound |= bound.pop(name, {})
        return bound

    def leave(self) -> None:
        """Put back what was there, unless somebody has replaced the stand-in since."""
        if not self.is_there:
            return
        if self.own is None:
            _take(self.owner, self.name)
        else:
            _put(self.owner, self.name, self.own)


def listen(
    owner: Any, name: str, *, before: Before | None = None, after: After | None = None
) -> Callable[[], None]:
    """Be told of every call of ``owner.name``.

    Parameters
    ----------
    owner : object
        The object whose method it is.
    name : str
        The method.
    before : callable, optional
        Called with the arguments by name before the method runs.
    after : callable, optional
        Called with the result after it ran, with None where it failed.

    Returns
    -------
    callable
        Ends the listening.
    """
    key = (id(owner), name)
    standin = _STANDINS.get(key)
    if standin is None or not standin.is_there:  # somebody may have put a method of theirs on top
        standin = _STANDINS[key] = _Standin(owner, name)
    looks = (before, after)
    standin.looks.append(looks)
    standin.sort()

    def remove() -> None:
        here = [place for place, one in enumerate(standin.looks) if one is looks]
        if not here:
            return  # left before
        del standin.looks[here[0]]
        standin.sort()
        if not standin.looks:
            if _STANDINS.get(key) is standin:
                del _STANDINS[key]
            standin.leave()

    return remove


def _put(owner: Any, name: str, value: Any) -> None:
    """Set an attribute in the object's own dict, past what its class does with attributes."""
    vars(owner)[name] = value


def _take(owner: Any, name: str) -> None:
    del vars(owner)[name]
