"""One number a row from a model's output: a word's logit, a class, or any function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from steerlab.errors import SteerlabError, listing, nearest
from steerlab.model import Model

Output = int | str | torch.Tensor | Callable[[torch.Tensor], torch.Tensor]


def scalar_of(model: Model, output: Output) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function from a model's main output to one number a row.

    Parameters
    ----------
    model : Model
        Whose words and classes are meant.
    output : int, str, Tensor or callable
        A number of a word or class, the same for all rows; a word (one token) or the label of a class; a
        number for each row, ``[row]``; or a function from the main output (logits at the last token
        ``[row, word]``, logits of classes, embeddings) to ``[row]``.
    """
    if isinstance(output, str):
        output = _number(model, output)
    if isinstance(output, torch.Tensor):
        if output.is_floating_point() or output.ndim != 1:
            raise SteerlabError(
                f"output: words or classes by row are integers [row], not {list(output.shape)}"
            )
        chosen = output

        def by_row(values: torch.Tensor) -> torch.Tensor:
            if values.ndim != 2 or len(values) != len(chosen):
                raise SteerlabError(f"output names {len(chosen)} rows; the model gives {list(values.shape)}")
            return values.gather(1, chosen[:, None].to(values.device))[:, 0]

        return by_row
    if callable(output):
        return output
    if not isinstance(output, int):
        raise SteerlabError(f"output={output!r}: give a number, a word, numbers [row] or a function")

    def at(values: torch.Tensor) -> torch.Tensor:
        if values.ndim != 2 or not -values.shape[1] <= output < values.shape[1]:
            raise SteerlabError(f"output={output}: the model's main output is {list(values.shape)}")
        return values[:, output]

    return at


def _number(model: Model, name: str) -> int:
    """A class by its label, or a word that is one token."""
    config = getattr(model.module, "config", None)
    labels: dict[str, Any] = getattr(config, "label2id", None) or {}
    tokenizer = getattr(model.processor, "tokenizer", model.processor)
    encode = getattr(tokenizer, "encode", None)
    if encode is None:
        if name not in labels:
            raise SteerlabError(f"no class {name!r}{nearest(name, labels)} (known: {listing(labels)})")
        return int(labels[name])
    ids = encode(name, add_special_tokens=False)
    if len(ids) != 1:
        raise SteerlabError(f"output={name!r} is {len(ids)} tokens; give one token, or the number of one")
    return int(ids[0])
