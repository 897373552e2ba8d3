"""Where a run stands when a site fires: the clock's answer to a scope."""

from __future__ import annotations

from dataclasses import dataclass

from steerlab.errors import SteerlabError
from steerlab.steps import Step
from steerlab.tokens import TokenMap


@dataclass(frozen=True, eq=False)
class Moment:
    """Tokens of a forward, its denoising step and the guidance branches in its batch.

    Parameters
    ----------
    tokens : TokenMap, optional
        What the tokens of this forward are.
    forward : int
        Which forward of the run this is, from 0.
    step : Step, optional
        The denoising step, where there is one.
    branches : tuple of str, optional
        Guidance branches in the order in which the batch holds them: ``("uncond", "cond")`` in one forward,
        ``("cond",)`` where each branch has a forward of its own.
    without_step, without_branches : str
        Why there is no step, or why the batch's layout is not known, for the error that says so.
    denoises : bool
        Whether this is a denoiser, whose rows may be the branches of an image.
    """

    tokens: TokenMap | None = None
    forward: int = 0
    step: Step | None = None
    branches: tuple[str, ...] | None = None
    without_step: str = "this model does not denoise"
    without_branches: str = "this model is not guided"
    denoises: bool = False

    def the_step(self, asked: str) -> Step:
        """The step, or an error that says why there is none."""
        if self.step is None:
            raise SteerlabError(f"{asked}: {self.without_step}")
        return self.step

    def the_branches(self, asked: str) -> tuple[str, ...]:
        """The branches of the batch, or an error that says why they are not known."""
        if self.branches is None:
            raise SteerlabError(f"{asked}: {self.without_branches}")
        return self.branches
