"""One loop for every training: warm-up and cosine decay, averaged weights, and checkpoints to go on from."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

__all__ = ["fit"]

_LOG = logging.getLogger(__name__)
_REPORT_EVERY = 100


def fit(
    module: nn.Module,
    loss: Callable[[torch.Generator], torch.Tensor],
    *,
    steps: int,
    rate: float,
    checkpoint: Path,
    warmup: int = 100,
    decay: float = 0.995,
    save_every: int = 250,
    watch: Callable[[int], None] | None = None,
) -> None:
    """Train a module in place and leave it holding the running average of its weights.

    Parameters
    ----------
    module : nn.Module
        Holds every parameter that is trained.
    loss : callable
        Draws a batch with the generator it is given and returns the loss, a scalar. Each step has its own
        seed, so a run that went on from a checkpoint sees the same batches.
    steps, rate : int, float
        Number of steps of AdamW and its peak learning rate.
    checkpoint : Path
        Where the state is kept meanwhile; deleting it means starting anew.
    warmup : int
        Steps of linear warm-up; a cosine takes the rate to nearly nothing afterwards.
    decay : float
        How much of the running average of the weights stays from step to step.
    save_every : int
        Steps between checkpoints, at which `watch` is called too.
    watch : callable, optional
        Is called with the number of steps done while the module holds the averaged weights.
    """
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
    averaged = {name: value.detach().clone() for name, value in module.named_parameters()}
    begun = 0
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(kept["module"])
        optimizer.load_state_dict(kept["optimizer"])
        averaged, begun = kept["averaged"], kept["done"]
    recent: list[float] = []
    for done in tqdm(range(begun + 1, steps + 1), initial=begun, total=steps, disable=None):
        for group in optimizer.param_groups:
            group["lr"] = rate * _share(done, steps, warmup)
        value = loss(torch.Generator().manual_seed(done))
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        keep = min(decay, done / (done + 10))  # a short memory at first, when the weights still move much
        for name, weight in module.named_parameters():
            averaged[name].lerp_(weight.detach(), 1 - keep)
        recent.append(value.item())
        if done % _REPORT_EVERY == 0:
            _LOG.info("step %d: loss %.4f", done, sum(recent) / len(recent))
            recent.clear()
        if done % save_every == 0 or done == steps:
            state = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
            fresh = checkpoint.with_suffix(".new")
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state | {"averaged": averaged, "done": done}, fresh)
            fresh.replace(checkpoint)
            if watch is not None:
                _with_weights(module, averaged, lambda done=done: watch(done))
    module.load_state_dict(averaged, strict=False)  # buffers are not averaged and stay


def _share(done: int, steps: int, warmup: int) -> float:
    return min(1.0, done / warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done / steps)))


def _with_weights(module: nn.Module, weights: dict[str, torch.Tensor], action: Callable[[], None]) -> None:
    mine = {name: value.detach().clone() for name, value in module.named_parameters()}
    module.load_state_dict(weights, strict=False)
    try:
        action()
    finally:
        module.load_state_dict(mine, strict=False)
