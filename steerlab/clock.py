"""The clock: where a run stands. Owned by one scope, reset by every forward of a tower.

It listens at each tower's entrance, so it knows the tokens of a forward before any site fires. Denoising
steps and guidance branches have their place in `steerlab.scope.Moment`; here they are None.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from steerlab import taps
from steerlab.scope import Moment
from steerlab.tokens import TokenMap

Describe = Callable[[Mapping[str, Any]], TokenMap | None]


@dataclass(eq=False)
class Clock:
    """Follows the forwards of some towers and says what their tokens are.

    Parameters
    ----------
    towers : mapping
        Tower prefix -> (module whose inputs describe the tokens, function from inputs to a token map).
    """

    towers: Mapping[str, tuple[nn.Module, Describe]]
    _now: dict[str, Moment] = field(default_factory=dict)
    _inputs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _count: dict[str, int] = field(default_factory=dict)

    def listen(self, prefix: str) -> Callable[[], None]:
        """Follow one tower; returns the remover."""
        module, _ = self.towers[prefix]
        names = parameter_names(module.forward)

        def look(args: tuple, kwargs: dict) -> None:
            self._inputs[prefix] = {**dict(zip(names, args, strict=False)), **kwargs}
            self._now.pop(prefix, None)
            self._count[prefix] = self._count.get(prefix, -1) + 1

        remove = taps.before(module, look)
        return lambda: (remove(), self._inputs.clear(), self._now.clear()) and None

    def moment(self, prefix: str) -> Moment:
        """Where the tower's current forward stands; described once a forward, on first need."""
        if prefix not in self._now:
            inputs = self._inputs.get(prefix)
            tokens = None if inputs is None else self.towers[prefix][1](inputs)
            self._now[prefix] = Moment(tokens, self._count.get(prefix, 0))
        return self._now[prefix]


def parameter_names(function: Callable) -> list[str]:
    """Names of the positional parameters of a function."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, p in inspect.signature(function).parameters.items() if p.kind in kinds]
