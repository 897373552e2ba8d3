"""How a dictionary is trained: one frozen value, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass

from steerlab.errors import SteerlabError


@dataclass(frozen=True)
class Fitting:
    """Settings of a training.

    Parameters
    ----------
    k : int
        Codes a row: atoms (``topk``), atoms on average over a batch (``batch-topk``), blocks (``block``,
        ``grassmannian``), blocks on average (``group-lasso``), steps of matching pursuit (``aligned``),
        atoms of each side of a pair (``aligned-topk``).
    steps, batch : int
        Steps of Adam, and rows (pairs, for kinds of pairs) in each of them.
    lr : float
        Peak rate; it rises over the first twentieth of the steps and falls to zero over the last half.
    seed : int
        Decides the first weights and the order of the rows.
    revive : float
        Weight of the auxiliary loss by which atoms that never fire learn what is left unexplained (arXiv
        2406.04093 takes 1/32). 0 leaves dead atoms dead.
    dead_after : int
        Steps without a code after which an atom counts as dead.
    block : int
        Atoms in a block, for kinds with blocks.
    auxiliary : float, optional
        For kinds with blocks: weight of the loss in which the `k` next blocks explain what is left; by
        default ``1 / k``. It takes the place of `revive`.
    penalty : float
        Price of the length of a block's code, for ``group-lasso``.
    align : float
        Weight of the alignment of paired codes, for kinds of pairs.
    gap : float
        Weight of the gap between modalities that shared atoms and the error would leave, for kinds of pairs;
        see `steerlab.fitting.paired.gap_left`.
    unit_norm : bool
        Whether atoms keep length 1; blocks have their own bound.
    centre, scale : bool
        Whether the mean row is taken off, and rows are brought to a mean square of 1 a dimension, while
        training. Both are folded into the dictionary afterwards, which takes and gives raw activations.
    """

    k: int = 32
    steps: int = 2000
    batch: int = 1024
    lr: float = 1e-3
    seed: int = 0
    revive: float = 1 / 32
    dead_after: int = 50
    block: int = 4
    auxiliary: float | None = None
    penalty: float = 1.0
    align: float = 0.0
    gap: float = 0.0
    unit_norm: bool = True
    centre: bool = True
    scale: bool = True

    def __post_init__(self) -> None:
        for name, least in (
            ("k", 1),
            ("steps", 1),
            ("batch", 1),
            ("dead_after", 1),
            ("block", 1),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SteerlabError(f"Fitting: {name}={value!r} is not a whole number of {least} or more")
        for name in ("lr", "align", "gap", "revive", "penalty", "auxiliary"):
            value = getattr(self, name)
            if name == "auxiliary" and value is None:
                continue
            if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
                raise SteerlabError(f"Fitting: {name}={value!r} is not a number of 0 or more")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / max(1.0, 0.05 * self.steps))
        fall = min(1.0, 2 * (1 - step / self.steps))
        return self.lr * rise * fall
