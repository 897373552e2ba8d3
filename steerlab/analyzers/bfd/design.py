"""Which tokens are positions that all inputs share, and which stand apart; inputs that differ are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.errors import SteerlabError
from steerlab.tokens import TokenMap


@dataclass(frozen=True)
class Design:
    """The tokens of every input.

    Parameters
    ----------
    start, stop : int
        Tokens with a position: the patches of a picture or clip, the words of a text but the first.
    apart : mapping
        Tokens of their own, by name: a class token, registers, the first token of a text. They have one place
        only, so position and mean cannot be told apart there.
    grid : tuple of int
        Of the patches in their order; empty for texts, and where frames run fastest.
    """

    start: int
    stop: int
    apart: Mapping[str, int]
    grid: tuple[int, ...] = ()

    @property
    def positions(self) -> int:
        """How many positions."""
        return self.stop - self.start

    @staticmethod
    def of(tokens: TokenMap) -> Design:
        """The design of one forward; texts of unequal lengths are refused."""
        if tokens.ids is not None:
            real = tokens.real
            if real is not None and not bool(real.all()):
                lengths = sorted(set(real.sum(1).tolist()))
                raise SteerlabError(
                    f"factors need every text to have the same positions (a balanced design), and these have "
                    f"{lengths[0]} to {lengths[-1]} tokens; cut them into windows of one length, such as "
                    "token ids [text, token]"
                )
            return Design(1, tokens.count, {"first": 0})
        start, stop = tokens.groups.get("patches", (0, tokens.count))
        apart = {}
        for name, (low, high) in tokens.groups.items():
            if name != "patches":
                apart |= {name if high - low == 1 else f"{name} {i - low}": i for i in range(low, high)}
        known = tokens.grid is not None and not tokens.frame_last
        return Design(start, stop, apart, tuple(tokens.grid) if known else ())

    def check(self, tokens: TokenMap) -> None:
        """Refuse inputs whose tokens are others."""
        other = Design.of(tokens)
        if other != self:
            raise SteerlabError(
                f"factors need every input to have the same positions (a balanced design): {other.positions} "
                f"positions from token {other.start} on, after inputs with {self.positions} from token "
                f"{self.start} on; bring them to one size"
            )

    def written(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "start": self.start,
            "stop": self.stop,
            "apart": dict(self.apart),
            "grid": list(self.grid),
        }

    @staticmethod
    def read(plain: Mapping[str, Any]) -> Design:
        """What `written` gave."""
        return Design(plain["start"], plain["stop"], dict(plain["apart"]), tuple(plain["grid"]))


def count_of(data: Any) -> int:
    """How many inputs: of a list, a tensor, a mapping of tensors, or what else has a length and slices."""
    try:
        return len(next(iter(data.values()))) if isinstance(data, Mapping) else len(data)
    except (TypeError, StopIteration):
        raise SteerlabError(
            f"{type(data).__name__} is no sequence of inputs; give a list or a tensor, or an object with a "
            "length whose slices are inputs of the model"
        ) from None


def part_of(data: Any, start: int, stop: int) -> Any:
    """Some of the inputs."""
    if isinstance(data, Mapping):
        return {name: value[start:stop] for name, value in data.items()}
    return data[start:stop]


def shuffled(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Positions of each input in another order: ``[input, position, ...]`` by ``[input, position]``."""
    return x.gather(1, order.to(x.device).view(*order.shape, *(1,) * (x.ndim - 2)).expand_as(x))
