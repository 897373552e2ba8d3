"""Train one dictionary a model with a shared index of concepts: universal or coupled."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.rules import TopK
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.fitting.coupling import PARTS, STEPS, Losses, Pass, Step
from steerlab.fitting.rows import Rows
from steerlab.fitting.settings import Fitting
from steerlab.fitting.state import State, request, resume, save
from steerlab.numerics.codes import decode_entries
from steerlab.numerics.sparse import top_k_entries

Paired = Sequence[torch.Tensor] | Iterable[Sequence[torch.Tensor]] | Callable[[], Iterable]
SOURCES = {
    "universal": "universal dictionary (arXiv 2502.03714)",
    "coupled": "coupled dictionaries (after arXiv 2606.09653)",
}
_SAVE_EVERY, _MEASURED, _SHOW_EVERY = 100, 16, 20


def fit_coupled(
    batches: Paired,
    atoms: int,
    *,
    kind: str = "universal",
    settings: Fitting | None = None,
    losses: Losses | None = None,
    folder: str | Path | None = None,
) -> tuple[Dictionary, ...]:
    """Train one dictionary a model on the same inputs, in which an atom's number means one concept.

    *Universal* (arXiv 2502.03714): each step draws a source model i, ``Z = TopK(encoder_i(x_i))``, and
    minimises ``sum_j |x_j - Z D_j|^2``; of the encoders only the source's learns. *Coupled* (after arXiv
    2606.09653): each step draws two models, and their own reconstructions, translations, paired codes,
    energies and cycles are weighed by `Losses`. Rows are centred and scaled by one number a model, which is
    folded into each decoder: codes have one scale in all models, and a change of a code changes each model's
    activations in their own units.

    Parameters
    ----------
    batches : sequence of Tensor, iterable or callable
        One tensor a model, ``[..., dim]`` with equally many rows that belong together; or a list of such
        tuples, or a function that starts them anew.
    atoms : int
        How many concepts.
    kind : str
        ``"universal"`` or ``"coupled"``.
    settings : Fitting, optional
        Sparsity, steps, rate; atoms of every model keep length 1 while training with `unit_norm`.
    losses : Losses, optional
        For ``"coupled"``.
    folder : path, optional
        Keeps the state; the same call goes on from there.

    Returns
    -------
    tuple of Dictionary
        One a model, on raw activations, measured on training rows; each saves by itself.
    """
    settings = settings or Fitting()
    if kind not in STEPS:
        raise SteerlabError(f"kind={kind!r}{nearest(kind, STEPS)} (known: {listing(STEPS)})")
    if losses is not None and kind != "coupled":
        raise SteerlabError(f"losses are for kind='coupled', not {kind!r}")
    if isinstance(atoms, bool) or not isinstance(atoms, int) or atoms < settings.k:
        raise SteerlabError(f"atoms={atoms!r}: give a whole number of k={settings.k} or more")
    joint = _Joint.of(batches)
    rows = Rows(joint.source, False, settings.batch, settings.seed)
    scaling = _Scaling.of(rows.first(), joint.widths, settings)
    job = _Job(rows, joint.widths, scaling, settings, losses or Losses())
    state = _begun(job, atoms)
    place = None if folder is None else Path(folder)
    asked = request(settings, kind=kind, atoms=atoms, widths=list(joint.widths), scale=list(scaling.scales))
    asked |= {one.name: getattr(job.losses, one.name) for one in fields(job.losses)}
    if place is not None:
        state = resume(state, place, asked)
    _train(job, state, kind, lambda: None if place is None else save(state, place, asked))
    return tuple(_made(job, state, model, kind) for model in range(len(joint.widths)))


@dataclass(frozen=True, eq=False)
class _Joint:
    """Rows of all models side by side, ``[row, sum of dims]``, so that shuffling keeps them together."""

    source: torch.Tensor | Callable[[], Iterable[torch.Tensor]] | list
    widths: tuple[int, ...]

    @staticmethod
    def of(batches: Paired) -> _Joint:
        if isinstance(batches, Iterator):
            raise SteerlabError("the activations are an iterator, which can be read once; give a function")
        if isinstance(batches, (tuple, list)) and batches and isinstance(batches[0], torch.Tensor):
            whole = _side_by_side(batches)
            return _Joint(whole, tuple(part.shape[-1] for part in batches))
        first = next(iter(batches() if callable(batches) else batches), None)
        if first is None:
            raise SteerlabError("there are no activations to train on")

        def anew() -> Iterator[torch.Tensor]:
            return (_side_by_side(item) for item in (batches() if callable(batches) else batches))

        return _Joint(anew, tuple(part.shape[-1] for part in first))


def _side_by_side(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    flat = [part.detach().reshape(-1, part.shape[-1]) for part in parts]
    if len(flat) < 2 or len({len(part) for part in flat}) != 1:
        shapes = [list(part.shape) for part in parts]
        raise SteerlabError(f"give two models or more with equally many rows [..., dim], not {shapes}")
    return torch.cat(flat, -1)


@dataclass(frozen=True, eq=False)
class _Scaling:
    """What is taken off each model's rows and what they are divided by."""

    means: tuple[torch.Tensor, ...]
    scales: tuple[float, ...]

    @staticmethod
    def of(rows: torch.Tensor, widths: tuple[int, ...], settings: Fitting) -> _Scaling:
        means, scales = [], []
        for part in rows.split(widths, -1):
            mean = part.double().mean(0).float() if settings.centre else torch.zeros(part.shape[-1])
            size = float((part.float() - mean).double().square().mean().sqrt()) if settings.scale else 1.0
            if size == 0:
                raise SteerlabError("all activations of a model are equal: there is nothing to explain")
            means.append(mean)
            scales.append(size)
        return _Scaling(tuple(means), tuple(scales))


@dataclass(frozen=True, eq=False)
class _Job:
    rows: Rows
    widths: tuple[int, ...]
    scaling: _Scaling
    settings: Fitting
    losses: Losses

    def batches(self) -> Iterator[list[torch.Tensor]]:
        """Centred and scaled rows of each model, without end."""
        for batch in self.rows.batches():
            parts = zip(batch.split(self.widths, -1), self.scaling.means, self.scaling.scales, strict=True)
            yield [(part - mean) / scale for part, mean, scale in parts]


def _begun(job: _Job, atoms: int) -> State:
    """Random unit atoms of each model, and encoders that look along them."""
    generator = torch.Generator().manual_seed(job.settings.seed)
    weights = {}
    for model, dim in enumerate(job.widths):
        decoder = normalize(torch.randn(atoms, dim, generator=generator))
        first = (decoder.T.contiguous(), torch.zeros(atoms), decoder, torch.zeros(dim))
        weights |= {
            f"{part}.{model}": w.clone().requires_grad_() for part, w in zip(PARTS, first, strict=True)
        }
    zeros = [{name: torch.zeros_like(w) for name, w in weights.items()} for _ in range(2)]
    return State(weights, *zeros, torch.zeros(atoms, dtype=torch.int32))


@torch.enable_grad()
def _train(job: _Job, state: State, kind: str, keep: Callable[[], None]) -> None:
    """Make the steps that are left, in place."""
    settings, models = job.settings, len(job.widths)
    generator = torch.Generator().manual_seed(settings.seed)
    order = [torch.randperm(models, generator=generator).tolist() for _ in range(settings.steps)]
    left = itertools.islice(job.batches(), state.done, settings.steps)
    bar = tqdm(left, desc="fitting together", total=settings.steps, initial=state.done, disable=None)
    for batch in bar:
        number = state.done
        step = Step(state.weights, batch, order[number], settings, job.losses)
        seen = STEPS[kind](step)
        loss = seen.loss
        dead = (state.idle >= settings.dead_after).nonzero()[:, 0]
        if settings.revive and len(dead):
            loss = loss + settings.revive * _left_to(step, seen, dead)
        loss.backward()
        for model in range(models if settings.unit_norm else 0):
            decoder = state.weights[f"decoder.{model}"]
            if decoder.grad is not None:
                decoder.grad -= (decoder.grad * decoder.detach()).sum(-1, keepdim=True) * decoder.detach()
        _step(state, seen.learns, settings.rate(number))
        with torch.no_grad():
            for model in range(models if settings.unit_norm else 0):
                state.weights[f"decoder.{model}"].copy_(normalize(state.weights[f"decoder.{model}"]))
            values, index = seen.entries
            state.idle += 1
            state.idle[index[values > 0]] = 0
        state.done = number + 1
        if number % _SHOW_EVERY == 0:
            unexplained = sum(float(one.detach().square().mean()) for one in seen.missed.values())
            bar.set_postfix(unexplained=f"{unexplained / len(seen.missed):.3f}", refresh=False)
        if state.done % _SAVE_EVERY == 0 or state.done == settings.steps:
            keep()


def _step(state: State, learns: set[str], rate: float) -> None:
    """A step of Adam for some weights; the others, and their moments, stay as they are."""
    parts = ({name: some[name] for name in learns} for some in (state.weights, state.first, state.second))
    State(*parts, state.idle, state.done).step(rate)
    for weight in state.weights.values():
        weight.grad = None


def _left_to(step: Step, seen: Pass, dead: torch.Tensor) -> torch.Tensor:
    """The auxiliary loss of arXiv 2406.04093 over all models: what is missed, from dead concepts alone."""
    source = step.drawn[0]
    weights = step.of(source)
    some = weights | {name: weights[name][..., dead] for name in ("encoder", "encoder_bias")}
    most = min(max(1, step.batch[source].shape[1] // 2), len(dead))
    pre = torch.addmm(some["encoder_bias"], step.batch[source] - some["bias"], some["encoder"])
    values, index = top_k_entries(pre, most)
    lost = []
    for model, missed in seen.missed.items():
        error = missed.detach() - decode_entries(values, index, step.of(model)["decoder"][dead])
        lost.append(error.square().mean() / missed.detach().square().mean().clamp_min(1e-12))
    return sum(lost)


def _made(job: _Job, state: State, model: int, kind: str) -> Dictionary:
    """One model's dictionary on raw activations: its scale is that of its atoms, codes are shared."""
    weights = {part: state.weights[f"{part}.{model}"].detach() for part in PARTS}
    scale, mean = job.scaling.scales[model], job.scaling.means[model]
    bias = mean + scale * weights["bias"]
    made = Dictionary(
        decoder=scale * weights["decoder"],
        encoder=Linear(weights["encoder"] / scale, weights["encoder_bias"], TopK(job.settings.k)),
        bias=bias,
        pre_bias=bias,
        facts=Facts(source=f"steerlab.fit_coupled: {SOURCES[kind]}, model {model + 1} of {len(job.widths)}"),
    )
    place = slice(sum(job.widths[:model]), sum(job.widths[: model + 1]))
    return made.measured(batch[:, place] for batch in itertools.islice(job.rows.batches(), _MEASURED))
