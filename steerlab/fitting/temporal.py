"""Train a temporal featurizer: whole sequences, Adam, and a state on disk to go on from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from steerlab.bases.linear import finite
from steerlab.bases.temporal import TemporalFeaturizer
from steerlab.errors import SteerlabError
from steerlab.fitting.state import State, begun, request, resume, save
from steerlab.numerics.causal_codes import NAMES, WEIGHTS, Sizes, split

_SAVE_EVERY = 50  # steps between two states on disk
_CLIP = 1.0  # largest length of all gradients together, as in arXiv 2511.01836
_MEASURED = 8  # batches that mean and length are measured on

Batch = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
Sequences = torch.Tensor | Sequence[Batch] | Callable[[], Iterable[Batch]]


@dataclass(frozen=True)
class TemporalFitting:
    """Settings of the training.

    Parameters
    ----------
    k : int
        Novel codes a token.
    heads, bottleneck : int
        Of the attention over codes; queries and keys have as many rows as atoms over the bottleneck.
    steps, batch : int
        Steps of Adam, and sequences in each, where they come as one tensor.
    lr : float
        Peak rate; it rises over the first twentieth of the steps and falls to zero over the last half.
    skip : int
        Tokens at the beginning of a sequence that are left out.
    seed : int
        Decides the first weights and the order.
    """

    k: int = 32
    heads: int = 4
    bottleneck: int = 8
    steps: int = 1000
    batch: int = 16
    lr: float = 1e-3
    skip: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("k", 1), ("heads", 1), ("bottleneck", 1), ("steps", 1), ("batch", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SteerlabError(
                    f"TemporalFitting: {name}={value!r} is no whole number of {least} or more"
                )
        for name in ("skip", "seed"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 0:
                raise SteerlabError(f"TemporalFitting: {name}={getattr(self, name)!r} is not 0 or more")
        if not isinstance(self.lr, (int, float)) or not 0 < self.lr < float("inf"):
            raise SteerlabError(f"TemporalFitting: lr={self.lr!r} is not a number above 0")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / max(1.0, 0.05 * self.steps))
        return self.lr * rise * min(1.0, 2 * (1 - step / self.steps))


def fit_temporal(
    sequences: Sequences,
    atoms: int,
    *,
    settings: TemporalFitting | None = None,
    folder: str | Path | None = None,
    facts: dict[str, str | float] | None = None,
) -> TemporalFeaturizer:
    """Train a `TemporalFeaturizer` on activations of whole sequences.

    Minimised is the sum of squares a token of ``x - ((z_p + z_n) D + b)`` over the tokens that count
    (arXiv 2511.01836), after activations are divided by their mean length. Our own choices: atoms of length 1
    with ``lam = 1`` (the paper's ``1 / (4 dim)`` makes the same functions of longer atoms), and an attention
    that begins as the mean of the past codes, since learning it from scratch is slow.

    Parameters
    ----------
    sequences : Tensor, list or callable
        ``[sequence, token, dim]``, or batches of such, or a function that starts the batches anew; a batch
        may be a tuple with a boolean ``[sequence, token]`` that says what is not padding.
    atoms : int
        How many, a multiple of the heads.
    settings : TemporalFitting, optional
        Sparsity, steps and the rest.
    folder : path, optional
        Keeps the state; the same call goes on from there and ends with the same featurizer.
    facts : dict, optional
        What is known, such as ``{"site": "blocks.12.resid"}``.
    """
    settings = settings or TemporalFitting()
    inner = atoms // settings.bottleneck if isinstance(atoms, int) else 0
    if (
        not isinstance(atoms, int)
        or atoms < 1
        or atoms % settings.heads
        or inner % settings.heads
        or not inner
    ):
        raise SteerlabError(
            f"atoms={atoms!r}: atoms, and atoms over the bottleneck {settings.bottleneck}, are whole "
            f"multiples of the {settings.heads} heads"
        )
    if isinstance(sequences, Iterator):
        raise SteerlabError("sequences are read more than once: give a list, or a function that begins anew")
    mean, length = _measured(sequences, settings)
    state = begun(_first(mean / length, atoms, inner, settings.seed))
    place = None if folder is None else Path(folder)
    asked = request(settings, kind="temporal", atoms=atoms, dim=len(mean), scale=length)
    if place is not None:
        state = resume(state, place, asked)
    _train(state, sequences, settings, length, lambda: place is not None and save(state, place, asked))
    weights = {name: state.weights[name].detach().cpu() for name in NAMES}
    return TemporalFeaturizer(
        weights, settings.heads, settings.k, 1.0, 1 / length, settings.skip, dict(facts or {})
    )


def _batches(sequences: Sequences, settings: TemporalFitting) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches without end, always the same, each with what counts of it."""
    generator = torch.Generator().manual_seed(settings.seed)
    while True:
        if isinstance(sequences, torch.Tensor):
            order = torch.randperm(len(sequences), generator=generator).split(settings.batch)
            some: Iterable[Batch] = (sequences[rows] for rows in order)
        else:
            some = sequences() if callable(sequences) else sequences
        none = True
        for batch in some:
            x, real = batch if isinstance(batch, tuple) else (batch, None)
            if not isinstance(x, torch.Tensor) or x.ndim != 3 or not x.is_floating_point():
                raise SteerlabError("sequences are floating activations [sequence, token, dim]")
            if real is None:
                real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            counted = real.bool() & (real.long().cumsum(1) > settings.skip)
            if bool(counted.any()):
                none = False
                yield finite(x.detach().float(), "the sequences"), counted
        if none:
            raise SteerlabError(f"the sequences hold no token beyond the first {settings.skip}")


def _measured(sequences: Sequences, settings: TemporalFitting) -> tuple[torch.Tensor, float]:
    """Mean activation ``[dim]`` and mean length, over some batches."""
    sums, lengths, count = 0.0, 0.0, 0
    for x, counted in itertools.islice(_batches(sequences, settings), _MEASURED):
        rows = x[counted].double()
        sums, lengths, count = sums + rows.sum(0), lengths + float(rows.norm(dim=-1).sum()), count + len(rows)
    if not lengths:
        raise SteerlabError("all activations are zero: there is nothing to explain")
    return (sums / count).float(), lengths / count


def _first(mean: torch.Tensor, atoms: int, inner: int, seed: int) -> dict[str, torch.Tensor]:
    """Random unit atoms, and an attention that averages the past."""
    generator = torch.Generator().manual_seed(seed)
    eye = torch.eye(atoms)
    weights = {"decoder": normalize(torch.randn(atoms, len(mean), generator=generator)), "bias": mean.clone()}
    for name in ("query", "key"):
        weights[name] = normalize(torch.randn(inner, atoms, generator=generator))
    weights |= {"value": eye.clone(), "output": eye.clone()}
    weights |= {f"{name}_bias": torch.zeros(len(weights[name])) for name in WEIGHTS}
    return {name: weights[name].to(mean.device) for name in NAMES}


@torch.enable_grad()
def _train(
    state: State,
    sequences: Sequences,
    settings: TemporalFitting,
    length: float,
    keep: Callable[[], object],
) -> None:
    """Make the steps that are left, in place."""
    sizes = Sizes(settings.heads, settings.k, 1.0)
    left = itertools.islice(_batches(sequences, settings), state.done, settings.steps)
    bar = tqdm(left, desc="temporal", total=settings.steps, initial=state.done, disable=None)
    for x, counted in bar:
        x = x / length
        found = split(x, state.weights, sizes, counted)
        missed = (found.rest - found.novel @ state.weights["decoder"])[counted]
        loss = missed.square().sum(-1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(state.weights.values()), _CLIP)
        state.step(settings.rate(state.done))
        state.done += 1
        if state.done % 20 == 1:
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}", refresh=False)
        if state.done % _SAVE_EVERY == 0 or state.done == settings.steps:
            keep()
