"""The clock: where a run stands. Owned by one scope, reset by every forward of a tower.

It listens at each tower's entrance, so it knows the tokens of a forward before any site fires; what lies
beyond one forward (what was generated, denoising steps, guidance branches) is known to the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from steerlab import taps
from steerlab.moment import Moment
from steerlab.runs import Run
from steerlab.signatures import parameter_names
from steerlab.tokens import TokenMap

Describe = Callable[[Mapping[str, Any]], TokenMap | None]


@dataclass(frozen=True, eq=False)
class Entrance:
    """Where the inputs of a tower come by.

    Parameters
    ----------
    module : nn.Module
        The module that is given the inputs.
    describe : callable
        From the inputs by name to a token map.
    """

    module: nn.Module
    describe: Describe
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", parameter_names(self.module.forward))


@dataclass(eq=False)
class Clock:
    """Follows the forwards of some towers and says what their tokens are.

    Parameters
    ----------
    towers : mapping
        Tower prefix -> its entrance.
    run : Run
        What is known beyond one forward.
    """

    towers: Mapping[str, Entrance]
    run: Run = field(default_factory=Run)
    _leave_run: Callable[[], None] | None = None
    _followers: int = 0
    _now: dict[str, Moment] = field(default_factory=dict)
    _inputs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _count: dict[str, int] = field(default_factory=dict)

    @property
    def tells_time(self) -> bool:
        """Whether receipts name steps and branches."""
        return self.run.tells_time

    def follow(self) -> Callable[[], None]:
        """Follow the run; returns the remover."""
        if not self._followers:
            self._leave_run = self.run.follow()
        self._followers += 1

        def leave() -> None:
            self._followers -= 1
            if not self._followers:
                self._leave_run()

        return leave

    def listen(self, prefix: str) -> Callable[[], None]:
        """Follow one tower; returns the remover."""
        entrance = self.towers[prefix]
        names = entrance.names

        def look(args: tuple, kwargs: dict) -> None:
            inputs = {**dict(zip(names, args, strict=False)), **kwargs}
            cache = inputs.get("past_key_values")
            if hasattr(cache, "get_seq_length"):  # asked now: the cache grows while the forward runs
                inputs["cached_tokens"] = int(cache.get_seq_length())
            self._inputs[prefix] = inputs
            self._now.pop(prefix, None)
            self._count[prefix] = self._count.get(prefix, -1) + 1
            if self._followers:
                self.run.enter(prefix, inputs)

        remove = taps.before(entrance.module, look, first=True)  # before an edit of what the tower is given

        def leave() -> None:
            remove()
            self._inputs.pop(prefix, None)
            self._now.pop(prefix, None)

        return leave

    def moment(self, prefix: str) -> Moment:
        """Where the tower's current forward stands; described once a forward, on first need."""
        if prefix not in self._now:
            inputs = self._inputs.get(prefix)
            tokens = None if inputs is None else self.towers[prefix].describe(inputs)
            forward = self._count.get(prefix, 0)
            moment = self.run.moment(prefix, tokens, forward) if self._followers else Moment(tokens, forward)
            self._now[prefix] = moment
        return self._now[prefix]

    def time(self, prefix: str) -> Moment:
        """As `moment`, for who does not ask what the tokens are."""
        return self._now.get(prefix) or self.run.moment(prefix, None, self._count.get(prefix, 0))

    def tokens_later(self, prefix: str) -> Callable[[], TokenMap | None]:
        """The tokens of the current forward, to be described when somebody looks; its inputs are let go."""
        now, inputs = self._now.get(prefix), self._inputs.get(prefix)
        if now is not None or inputs is None:
            tokens = None if now is None else now.tokens
            return lambda: tokens
        outlines = {
            name: _outline(v) for name, v in inputs.items() if v is None or isinstance(v, (torch.Tensor, int))
        }
        describe = self.towers[prefix].describe
        return lambda: describe(outlines)


def _outline(value: torch.Tensor | int | None) -> torch.Tensor | int | None:
    """Pixels, latents and embeddings as their shape alone: activations that wait must not keep them alive."""
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 2:
        return value.new_zeros(()).expand(value.shape)
    return value
