"""Activations of numbers at several sites, and whether the model knows the sums, batch by batch."""

from __future__ import annotations

import torch
from tqdm.auto import tqdm

from steerlab.analyzers.cyclic.prompts import Sums
from steerlab.analyzers.manifold_steering.outcomes import Outcomes
from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.model import Model


def activations(model: Model, sums: Sums, sites: list[str], batch: int) -> torch.Tensor:
    """What stands at the last token of each prompt's number, ``[site, prompt, dim]`` in float32.

    A text is read up to there only, and once however many prompts begin with it: what follows changes nothing
    in a causal model.
    """
    texts = [text[:place] for text, place in zip(sums.texts, sums.places, strict=True)]
    distinct = list(dict.fromkeys(texts))
    parts = []
    for start in tqdm(range(0, len(distinct), batch), desc="numbers", disable=None, leave=False):
        some = distinct[start : start + batch]

        def read(some: list[str] = some) -> torch.Tensor:
            acts = model.capture(some, at=sites, tokens="last")
            widths = {acts[site].shape[-1] for site in sites}
            if len(widths) > 1:
                raise SteerlabError(f"Cyclic: the scanned sites have widths {sorted(widths)}; scan one kind")
            return torch.stack([acts[site][:, 0].float().cpu() for site in sites])

        parts.append(kept(f"Cyclic activations {sites} {some}", read))
    row = {text: i for i, text in enumerate(distinct)}
    return torch.cat(parts, 1)[:, [row[text] for text in texts]]


def likeliest(model: Model, sums: Sums, outcomes: Outcomes, batch: int) -> torch.Tensor:
    """The number of the answer that the model finds likeliest after each prompt, ``[prompt]``."""
    said = []
    for start in tqdm(range(0, len(sums), batch), desc="answers", disable=None, leave=False):
        some = sums.texts[start : start + batch]

        def ask(some: list[str] = some) -> torch.Tensor:
            logits = model.capture(some, at="logits", tokens="last")["logits"][:, None]
            return outcomes.distribution(logits)[:, :-1].argmax(-1)

        said.append(kept(f"Cyclic answers {some}", ask))
    return torch.cat(said)
