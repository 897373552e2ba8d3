"""Train a surrogate: each shared block alone, from teacher forcing to the closed loop, then all together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path as Folder
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from steerlab.edits import Fn
from steerlab.errors import SteerlabError
from steerlab.fingerprint import fingerprint
from steerlab.model import Model
from steerlab.surrogates.block import BlockSizes, RaptorBlock
from steerlab.surrogates.losses import distance, forced, looped
from steerlab.surrogates.settings import Distilling
from steerlab.surrogates.state import Standing, resume, save
from steerlab.surrogates.surrogate import Surrogate, segments_of
from steerlab.surrogates.teacher import Path, Source, batches, paths, span_of

_SAVE_EVERY = 50  # steps between two states on disk
_SHOW_EVERY = 10


def fit_surrogate(
    model: Model,
    data: Source,
    *,
    cuts: Iterable[int],
    settings: Distilling | None = None,
    folder: str | Folder | None = None,
) -> Surrogate:
    """Train shared blocks that stand in for a span of a model's blocks (arXiv 2512.19941).

    Stage 1 trains each block alone, from the teacher's state where its segment begins, on
    ``lambda L_TF + (1 - lambda) L_AR``; stage 2 trains all on ``L_AR`` from the first state. The targets come
    from a forward of the model for each batch, and none is kept.

    Parameters
    ----------
    model : Model
        The teacher.
    data : Tensor, sequence or callable
        Inputs: a tensor or a list whose entries are drawn from, or a function from the number of a step to
        the inputs of that step, as `Model.capture` takes them.
    cuts : iterable of int
        Blocks at which another shared block takes over; none for one shared block.
    settings : Distilling, optional
        Steps, rates, weights.
    folder : path, optional
        Keeps the state of the training. The same call goes on from there and ends with the numbers of an
        uninterrupted one.

    Returns
    -------
    Surrogate
        To be saved, and to be put into the model with `steerlab.rewired`.
    """
    settings = settings or Distilling()
    span = span_of(model, settings.at, settings.span)
    batch = batches(data, settings.batch, settings.seed)
    sizes, device = _sizes(model, settings, span, batch(0))
    cuts = tuple(int(cut) for cut in cuts)
    if any(a >= b for a, b in zip((span[0], *cuts), (*cuts, span[1]), strict=True)):
        raise SteerlabError(f"cuts {list(cuts)} do not rise inside the span {list(span)}")
    standing = Standing(_first(sizes, len(cuts) + 1, settings).to(device))
    place = None if folder is None else Folder(folder)
    asked = dataclasses.asdict(settings) | {"cuts": cuts, "span": span, "dim": sizes.dim}
    if place is not None:
        resume(standing, place, asked)
    job = _Job(settings, segments_of(span, cuts), batch)
    _train(job, paths(model, settings.at, span), standing, lambda: place and save(standing, place, asked))
    at = [f"{settings.at}.{block}.resid" for block in range(*span)]
    return Surrogate(
        sizes,
        span,
        cuts,
        {name: weight.detach().clone() for name, weight in standing.blocks.state_dict().items()},
        settings.at,
        about=f"{len(cuts) + 1} shared blocks in place of {settings.at} {span[0]} to {span[1] - 1}",
        provenance={"steps": settings.steps, "steps together": settings.steps_together},
        fits=fingerprint(model._points, at),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    """What is trained on what."""

    settings: Distilling
    segments: list[range]
    batch: Callable[[int], Any]

    @property
    def start(self) -> int:
        return self.segments[0].start

    def alone(self, blocks: nn.ModuleList, path: Path, step: int) -> list[torch.Tensor]:
        """Stage 1: the loss of each block by itself."""
        forcing, losses = self.settings.forcing(step), []
        for number, (block, segment) in enumerate(zip(blocks, self.segments, strict=True)):
            weights = self.settings.last if number == len(blocks) - 1 else None
            made = [(forcing, lambda b=block, s=segment: forced(b, path, s, start=self.start))] * (
                forcing > 0
            )
            if forcing < 1:
                made.append((1 - forcing, lambda b=block, s=segment: self._loop([b], path, [s])))
            targets = slice(segment.start - self.start + 1, segment.stop - self.start + 1)
            parts = [
                share * distance(run(), path, targets, weights=weights, relative=self.settings.relative)
                for share, run in made
            ]
            losses.append(torch.stack(parts).sum())
        return losses

    def together(self, blocks: nn.ModuleList, path: Path) -> list[torch.Tensor]:
        """Stage 2: the loss of the whole closed loop."""
        states = self._loop(list(blocks), path, self.segments)
        weights, relative = self.settings.together, self.settings.relative
        return [distance(states, path, slice(1, None), weights=weights, relative=relative)]

    def _loop(self, blocks: list[RaptorBlock], path: Path, segments: list[range]) -> torch.Tensor:
        return looped(blocks, path, segments, start=self.start, again=self.settings.checkpoint)


@torch.enable_grad()
def _train(job: _Job, teacher: Callable[[Any], Path], standing: Standing, keep: Callable[[], object]) -> None:
    """Make the steps that are left, in place."""
    settings, device = job.settings, standing.blocks[0].gamma1.device
    bar = tqdm(
        desc="distilling",
        total=settings.steps + settings.steps_together,
        initial=standing.done + (standing.stage - 1) * settings.steps,
        disable=None,
    )
    with bar:
        for stage, steps in ((1, settings.steps), (2, settings.steps_together)):
            while standing.stage == stage and standing.done < steps:
                number = standing.done + (stage - 1) * settings.steps
                with torch.autocast(device.type, torch.bfloat16, enabled=settings.half):
                    path = teacher(job.batch(number))
                    blocks = standing.blocks
                    losses = (
                        job.alone(blocks, path, standing.done) if stage == 1 else job.together(blocks, path)
                    )
                _step(standing, losses, settings, settings.rate(standing.done, steps))
                standing.done += 1
                bar.update()
                if number % _SHOW_EVERY == 0:
                    bar.set_postfix(loss=f"{standing.losses[-1]:.4f}", refresh=False)
                if standing.stage == 1 and standing.done == steps:
                    standing.stage, standing.done = 2, 0
                    standing.anew()
                if standing.done % _SAVE_EVERY == 0 or standing.done == steps:
                    keep()


def _step(standing: Standing, losses: list[torch.Tensor], settings: Distilling, rate: float) -> None:
    torch.stack(losses).sum().backward()
    whole = list(standing.blocks.parameters())
    # in stage 1 the blocks know nothing of one another, and each is clipped by its own gradient
    for some in [whole] if len(losses) == 1 else [list(block.parameters()) for block in standing.blocks]:
        nn.utils.clip_grad_norm_(some, settings.clip)
    for optimiser in standing.optimisers:
        for group in optimiser.param_groups:
            group.update(lr=rate, weight_decay=settings.decay)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    standing.losses.append(float(torch.stack(losses).detach().mean()))


def _sizes(
    model: Model, settings: Distilling, span: tuple[int, int], inputs: Any
) -> tuple[BlockSizes, torch.device]:
    """Widths and heads of the blocks that are replaced; of grouped queries, the number of query heads."""
    found = dict(model._points.find(f"{settings.at}.{span[0]}.resid_pre"))
    point = next(iter(found.values()))
    heads = len(model.heads(f"{settings.at}.{span[0]}.heads"))
    causal = _is_causal(model, f"{settings.at}.{span[0]}", inputs)
    device = next(point.module.parameters()).device
    return BlockSizes(point.shape[-1], heads, settings.hidden, causal=causal), device


def _is_causal(model: Model, place: str, inputs: Any) -> bool:
    """Whether the first token of a block's output is the same whatever its last token is given."""
    pre, out = f"{place}.resid_pre", f"{place}.resid"

    def other(x: torch.Tensor) -> torch.Tensor:
        x[:, -1] = x[:, -1].flip(-1) + 1
        return x

    plain = model.capture(inputs, at=out)[out]
    with model.edit({pre: Fn(other)}):
        moved = model.capture(inputs, at=out)[out]
    return plain.shape[1] > 1 and torch.equal(plain[:, 0], moved[:, 0])


def _first(sizes: BlockSizes, count: int, settings: Distilling) -> nn.ModuleList:
    """First weights, drawn without moving torch's own generator."""
    with torch.random.fork_rng([]):
        torch.manual_seed(settings.seed)
        return nn.ModuleList(RaptorBlock(sizes, layer_scale=settings.layer_scale) for _ in range(count))
