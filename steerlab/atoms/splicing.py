"""What a model loses when a dictionary's reconstruction takes the place of an activation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from steerlab.atoms.stream import prepared
from steerlab.atoms.tables import table
from steerlab.bases import Dictionary
from steerlab.edits import Edit, Fn, Listen, RandomControl, Zero
from steerlab.edits.base import wide
from steerlab.intervention import Changes
from steerlab.model import Model
from steerlab.numerics.fidelity import kl_recovered, loss_recovered
from steerlab.sites import Site
from steerlab.tokens import TokenChoice

ROWS = 256  # predictions whose probabilities are held at once: 50k words in float64 are 100 MB
ARMS = ("again", "spliced", "mean", "zero", "random")


@dataclass(frozen=True)
class Splice:
    """Loss and divergence with the reconstruction in place, beside ablations, a control and a floor.

    Attributes
    ----------
    loss : dict
        Mean cross entropy in nats: ``"clean"``, ``"spliced"``, ``"mean"`` (the site at its mean),
        ``"zero"``, ``"random"`` (the same error in a random direction), ``"again"`` (clean once more).
        Empty where nothing says what is right.
    kl : dict
        Mean ``KL(clean || edited)`` in nats, of the same.
    predictions : int
        How many were compared.
    """

    loss: dict[str, float]
    kl: dict[str, float]
    predictions: int

    def loss_recovered(self, against: str = "mean") -> float:
        """``(L_ablated - L_spliced) / (L_ablated - L_clean)`` against ``"mean"`` or ``"zero"``."""
        if not self.loss or self.loss[against] == self.loss["clean"]:
            return float("nan")
        return loss_recovered(self.loss["clean"], self.loss["spliced"], ablated=self.loss[against])

    def kl_recovered(self, against: str = "mean") -> float:
        """``(KL_ablated - KL_spliced) / KL_ablated`` against ``"mean"`` or ``"zero"``."""
        return kl_recovered(self.kl["spliced"], self.kl[against]) if self.kl[against] else float("nan")

    def __str__(self) -> str:
        said = {
            "clean": "the model as it is",
            "spliced": "reconstruction spliced in",
            "random": "control: an error as long, in a random direction",
            "mean": "mean ablation",
            "zero": "zero ablation",
            "again": "floor: the model once more",
        }
        rows = [
            [what, self.loss.get(name, float("nan")), self.kl.get(name, 0.0)] for name, what in said.items()
        ]
        lines = [table(["", "CE", "KL"], rows)]
        for against in ("mean", "zero"):
            loss = f"loss recovered {self.loss_recovered(against):.3f}, " if self.loss else ""
            lines.append(f"against {against} ablation: {loss}KL recovered {self.kl_recovered(against):.3f}")
        return "\n".join([*lines, f"({self.predictions} predictions, in nats)"])


def splice(
    model: Model,
    dictionary: Dictionary,
    batches: Iterable[Any],
    *,
    where: tuple[Site, Site, TokenChoice | None],
    mean: torch.Tensor,
) -> Splice | None:
    """Run every batch clean, spliced and ablated; None for models without logits.

    Parameters
    ----------
    model : Model
        With logits over words or classes.
    dictionary : Dictionary
        Whose reconstruction is put in place (as `Project` does).
    batches : iterable
        Inputs; texts are scored by their own next tokens, classes by ``labels`` among the keyword arguments.
    where : tuple
        The site that is explained, the one that is read, and the tokens to act on (None for all).
    mean : Tensor
        Mean of the site's activation, ``[dim]``.
    """
    from tqdm.auto import tqdm

    if not isinstance(model.module, nn.Module):
        return None
    arms = _arms(dictionary, where, mean)
    loss, kl = dict.fromkeys(("clean", *ARMS), 0.0), dict.fromkeys(ARMS, 0.0)
    count = scored = 0
    for batch in tqdm(batches, desc="splicing", disable=None, leave=False):
        kwargs = prepared(model, batch)
        clean = _logits(model, kwargs, None)
        if clean is None:
            return None
        clean, right = _predictions(clean, kwargs)
        count += len(clean)
        if right is not None:
            loss["clean"] += _cross_entropy(clean, right)
            scored += len(clean)
        for name in ARMS:
            edited = _predictions(_logits(model, kwargs, arms[name]), kwargs)[0]
            kl[name] += _divergence(clean, edited)
            if right is not None:
                loss[name] += _cross_entropy(edited, right)
    every = {name: value / count for name, value in kl.items()} if count else kl
    return Splice({n: v / scored for n, v in loss.items()} if scored else {}, every, count)


def reconstruction(dictionary: Dictionary) -> Edit:
    """``x -> decode(encode(x))`` as an edit, for dictionaries with any norm and for listening transcoders."""

    def rebuilt(x: torch.Tensor) -> torch.Tensor:
        return dictionary.reconstruct(dictionary.source(wide(x))).reshape(x.shape).to(x.dtype)

    return Fn(rebuilt)


def _arms(
    dictionary: Dictionary, where: tuple[Site, Site, TokenChoice | None], mean: torch.Tensor
) -> dict[str, Changes | None]:
    site, reads, tokens = where
    live = dictionary.live() if dictionary.is_transcoder else dictionary
    rebuilt = reconstruction(live)

    def averaged(x: torch.Tensor) -> torch.Tensor:
        return mean.to(x).repeat(x.numel() // mean.numel()).reshape(x.shape)

    def at(edit: Edit, *, listens: bool = False) -> Changes:
        here = {site: edit if tokens is None else edit.on(tokens=tokens)}
        return {reads: Listen(live), **here} if listens and dictionary.is_transcoder else here

    return {
        "again": None,
        "spliced": at(rebuilt, listens=True),
        "mean": at(Fn(averaged)),
        "zero": at(Zero()),
        "random": at(RandomControl(rebuilt), listens=True),
    }


def _logits(model: Model, kwargs: dict[str, Any], change: Changes | None) -> torch.Tensor | None:
    with torch.no_grad():
        if change is None:
            output = model.module(**kwargs)
        else:
            # a reconstruction without any error changes nothing, which is no mistake here
            with model.edit(change, strict=False):
                output = model.module(**kwargs)
    found = getattr(output, "logits", None)
    return found if isinstance(found, torch.Tensor) else None


def _predictions(logits: torch.Tensor, kwargs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits ``[prediction, choice]`` and, where it is known, which choice was right, ``[prediction]``."""
    ids, mask = kwargs.get("input_ids"), kwargs.get("attention_mask")
    if logits.ndim == 3 and ids is not None and ids.shape == logits.shape[:2]:
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        keep = real[:, :-1] & real[:, 1:]
        return logits[:, :-1][keep], ids[:, 1:][keep]
    labels = kwargs.get("labels")
    flat = logits.reshape(-1, logits.shape[-1])
    known = isinstance(labels, torch.Tensor) and labels.numel() == len(flat)
    return flat, labels.reshape(-1) if known else None


def _chunks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    return zip(*(tensor.split(ROWS) for tensor in tensors), strict=True)


def _cross_entropy(logits: torch.Tensor, right: torch.Tensor) -> float:
    """Summed over predictions."""
    parts = (nn.functional.cross_entropy(a.double(), b, reduction="sum") for a, b in _chunks(logits, right))
    return sum(float(part) for part in parts)


def _divergence(clean: torch.Tensor, edited: torch.Tensor) -> float:
    """``KL(clean || edited)``, summed over predictions."""
    total = 0.0
    for a, b in _chunks(clean, edited):
        p, q = a.double().log_softmax(-1), b.double().log_softmax(-1)
        total += float((p.exp() * (p - q)).sum())
    return total
