"""A forward that stands alone: nothing came before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from steerlab.moment import Moment
from steerlab.tokens import TokenMap


class Run:
    """What is known beyond the forward itself. This one knows nothing; the others replace its methods.

    Attributes
    ----------
    tells_time : bool
        Whether receipts name steps and branches.
    """

    tells_time: ClassVar[bool] = False

    def follow(self) -> Callable[[], None]:
        """Begin to listen; returns what ends it."""
        return lambda: None

    def enter(self, tower: str, inputs: Mapping[str, Any]) -> None:
        """Be told that a tower's forward begins."""

    def denoises(self, tower: str) -> bool:
        """Whether a tower runs once or more for every denoising step."""
        return False

    def moment(self, tower: str, tokens: TokenMap | None, forward: int) -> Moment:
        """Where the tower's current forward stands."""
        return Moment(tokens, forward)
