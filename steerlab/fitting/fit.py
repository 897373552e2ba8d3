"""Train a sparse dictionary: centre and scale, fit with Adam while dead atoms learn the rest, and fold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.facts import Facts
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.fitting.blocks import BLOCK_KINDS
from steerlab.fitting.kind import Kind, Weights
from steerlab.fitting.kinds import KINDS
from steerlab.fitting.paired import PAIRED_KINDS
from steerlab.fitting.rows import Rows, Source
from steerlab.fitting.settings import Fitting
from steerlab.fitting.state import State, begun, request, resume, save
from steerlab.numerics.codes import decode_entries
from steerlab.numerics.sparse import top_k_entries

_SAVE_EVERY = 100  # steps between two states on disk
_CHECKED = 16  # batches that the threshold is estimated on
_MEASURED = 32  # batches that the usual size of the codes is measured on
_SHOW_EVERY = 20


def fit_dictionary(
    batches: Source,
    atoms: int,
    *,
    kind: str = "topk",
    settings: Fitting | None = None,
    folder: str | Path | None = None,
) -> Dictionary:
    """Train a dictionary on activations.

    Minimised is the mean square of ``x - (z D + b)``, after rows are centred and scaled (which is folded away
    at the end), for pairs minus ``align`` times the mean cosine of paired codes, plus ``gap`` times the gap
    that shared atoms leave; see `steerlab.fitting.paired`. The paper of that kind trains on embeddings as
    they are: ``Fitting(centre=False)``.

    Parameters
    ----------
    batches : Tensor, iterable or callable
        Activations ``[..., dim]``: one tensor, a list of batches, or a function that starts the batches anew,
        such as ``lambda: (acts[site] for acts in model.stream(texts, at=site))``. For pairs, tuples of
        two tensors ``[pair, dim]``, or ``[..., 2, dim]``.
    atoms : int
        How many atoms.
    kind : str
        ``"topk"`` (arXiv 2406.04093), ``"batch-topk"`` (arXiv 2412.06410), ``"aligned"`` and
        ``"aligned-topk"`` (pairs of two modalities, arXiv 2602.06218; the second, with an encoder and top-k
        in place of pursuit, is our own); block-sparse featurizers with signed codes (Fel, Kowal et al.,
        Structuring Sparsity): ``"block"`` (free encoder, ``|D_g|_F <= 1``), ``"grassmannian"`` (tied
        encoder ``gamma D^T``, ``D_g D_g^T = I``) and ``"group-lasso"`` (each block shrunk by its own
        threshold, penalised while more than `k` are active).
    settings : Fitting, optional
        Sparsity, steps, rate and the rest.
    folder : path, optional
        Keeps the state of the training. The same call goes on from there, and ends with the dictionary that
        an uninterrupted training ends with; of a stream, the batches that were used are read again.

    Returns
    -------
    Dictionary
        On raw activations. Its codes have the scale of the activations where atoms have length 1; their usual
        size on training rows is in `stats`, so that strengths have units.

    Examples
    --------
    >>> rows = torch.randn(4096, 8, generator=torch.Generator().manual_seed(0))
    >>> fit_dictionary(rows, 16, settings=Fitting(k=2, steps=20, batch=256))
    Dictionary(16 atoms × 8, Linear)
    """
    settings = settings or Fitting()
    _check(kind, atoms, settings)
    chosen = KINDS[kind]
    rows = Rows(batches, chosen.paired, settings.batch, settings.seed)
    mean, scale = _scale(rows.first(), settings)
    job = Job(chosen, settings, rows, mean, scale)
    state = begun(_first_weights(job, atoms))
    place = None if folder is None else Path(folder)
    asked = request(settings, kind=kind, atoms=atoms, dim=len(mean), scale=scale)
    if place is not None:
        state = resume(state, place, asked)
    _train(job, state, lambda: None if place is None else save(state, place, asked))
    weights = {name: weight.detach() for name, weight in state.weights.items()}
    bias = mean + scale * weights["bias"] if "bias" in weights else mean
    made = Dictionary(
        decoder=weights["decoder"],
        encoder=chosen.encoder(weights, scale, settings, itertools.islice(job.batches(), _CHECKED)),
        bias=bias,
        pre_bias=bias,
        facts=Facts(source=f"steerlab.fit_dictionary: {chosen.source}"),
    )
    return made.measured(itertools.islice(rows.batches(), _MEASURED))


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained on what.

    Parameters
    ----------
    kind, settings, rows
        What was asked for.
    mean : Tensor
        Taken off the rows, ``[dim]``.
    scale : float
        What they are then divided by.
    """

    kind: Kind
    settings: Fitting
    rows: Rows
    mean: torch.Tensor
    scale: float

    def batches(self) -> Iterator[torch.Tensor]:
        """Centred and scaled batches without end."""
        return ((batch - self.mean) / self.scale for batch in self.rows.batches())


def _check(kind: str, atoms: int, settings: Fitting) -> None:
    if kind not in KINDS:
        raise SteerlabError(f"kind={kind!r}{nearest(kind, KINDS)} (known: {listing(KINDS)})")
    size = settings.block if kind in BLOCK_KINDS else 1
    if isinstance(atoms, bool) or not isinstance(atoms, int) or atoms < 1 or atoms % size:
        raise SteerlabError(f"atoms={atoms!r}: give a whole number, a multiple of {size}")
    if kind != "aligned" and settings.k * size > atoms:
        raise SteerlabError(f"k={settings.k}: a row cannot have more codes than the {atoms} atoms allow")
    for name in ("align", "gap"):
        if kind not in PAIRED_KINDS and getattr(settings, name):
            known = listing(PAIRED_KINDS)
            raise SteerlabError(f"{name}={getattr(settings, name)} is for {known}, not {kind!r}")


def _scale(rows: torch.Tensor, settings: Fitting) -> tuple[torch.Tensor, float]:
    """The mean row ``[dim]`` and the root of the mean square a dimension; zeros and 1 where not wanted."""
    dim = rows.shape[-1]
    mean = rows.new_zeros(dim, dtype=torch.float32)
    if settings.centre:
        mean = rows.reshape(-1, dim).mean(0, dtype=torch.float64).float()
    if not settings.scale:
        return mean, 1.0
    square = sum(float((some.float() - mean).double().square().sum()) for some in rows.split(65536))
    if square == 0:
        raise SteerlabError("all activations are equal: there is nothing to explain")
    return mean, math.sqrt(square / rows.numel())


def _first_weights(job: Job, atoms: int) -> Weights:
    """Random unit atoms, and encoders that look along them."""
    generator = torch.Generator().manual_seed(job.settings.seed)
    dim = len(job.mean)
    decoder = normalize(torch.randn(atoms, dim, generator=generator))
    first = {
        "decoder": decoder,
        "bias": torch.zeros(dim),
        "encoder": decoder.T.contiguous(),
        "encoder_bias": torch.zeros(atoms),
        "log_gamma": torch.zeros(1),
        "log_threshold": torch.zeros(atoms // job.settings.block),
    }
    drawn = {name: first[name].clone().to(job.mean.device) for name in job.kind.weights}
    with torch.no_grad():
        return job.kind.begin(drawn, next(job.batches()), job.settings)


@torch.enable_grad()
def _train(job: Job, state: State, keep: Callable[[], None]) -> None:
    """Make the steps that are left, in place."""
    settings = job.settings
    left = itertools.islice(job.batches(), state.done, settings.steps)
    bar = tqdm(left, desc="fitting", total=settings.steps, initial=state.done, disable=None)
    for batch in bar:
        step = state.done
        seen = job.kind.run(state.weights, batch, settings)
        dead = (state.idle >= settings.dead_after).nonzero()[:, 0]
        loss = seen.loss
        if job.kind.along is not None and settings.revive and len(dead):
            loss = loss + settings.revive * _left_to(job.kind, state.weights, batch, seen.missed, dead)
        loss.backward()
        job.kind.hold(state.weights, settings)
        state.step(settings.rate(step))
        with torch.no_grad():
            job.kind.settle(state.weights, settings, step + 1)
            state.idle = torch.where(seen.fired, 0, state.idle + 1)
        state.done = step + 1
        if step % _SHOW_EVERY == 0:
            unexplained = float(seen.missed.square().mean())
            bar.set_postfix(unexplained=f"{unexplained:.3f}", refresh=False)
        if state.done % _SAVE_EVERY == 0 or state.done == settings.steps:
            keep()


def _left_to(
    kind: Kind, weights: Weights, batch: torch.Tensor, missed: torch.Tensor, dead: torch.Tensor
) -> torch.Tensor:
    """The auxiliary loss of arXiv 2406.04093: what is left of the rows, as dead atoms alone explain it.

    ``|e - e_hat|^2 / |e|^2``, with ``e_hat`` from the dead atoms that answer most, half as many a row as the
    rows have dimensions.
    """
    answers = kind.along(weights, batch.reshape(missed.shape), missed, dead)
    most = min(max(1, missed.shape[1] // 2), len(dead))
    values, index = top_k_entries(answers, most)
    error = missed - decode_entries(values, index, weights["decoder"][dead])
    return error.square().mean() / missed.square().mean().clamp_min(torch.finfo(missed.dtype).tiny)
