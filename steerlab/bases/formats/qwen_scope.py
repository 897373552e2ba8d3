"""Qwen Scope: one ``layerN.sae.pt`` a block, top-k, its matrices stored the other way round."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import whole
from steerlab.bases.formats.files import Source
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import said
from steerlab.bases.rules import TopK
from steerlab.errors import SteerlabError

NAME = re.compile(r"layer(\d+)\.sae\.pt")
KEYS = {"W_enc", "W_dec", "b_enc", "b_dec"}


def _file(source: Source) -> str | None:
    files = [name for name in source.names if NAME.fullmatch(name)]
    return files[0] if len(files) == 1 else None


def _recognises(source: Source) -> bool:
    file = _file(source)
    return file is not None and source.keys(file) >= KEYS


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    file = _file(source)
    if file is None:
        raise SteerlabError(f"{source.shown}: name one of the files layer0.sae.pt, layer1.sae.pt and so on")
    weights = source.weights(file)
    bias = weights.take("b_dec", None)
    atoms, dim = len(weights.take("b_enc", None)), len(bias)
    # stored as [atom, dim] and [dim, atom] in spite of their names
    weight, rows = weights.take("W_enc", atoms, dim).T, weights.take("W_dec", dim, atoms).T
    path = source.folder / file
    said_k = said(r"[-_]L0[-_]?(\d+)", path)
    if "k" not in options and said_k is None:
        raise SteerlabError(f"{file} does not say how many codes a token has; give k= (50 for L0_50)")
    k = whole(options, "k", "the options") if "k" in options else int(said_k)
    model = said(r"SAE-Res-(Qwen[\w.]+?-[\d.]+B(?:-A\d+B)?(?:-Base)?)", path)
    facts = Facts(
        site=f"blocks.{NAME.fullmatch(file)[1]}.resid",
        model=model and f"Qwen/{model}",
        source="qwen-scope",
        l0=float(k),
        fingerprint=source.fingerprint(file),
        assumptions=("the k strongest pre-activations are the codes, without ReLU",),
    )
    encoder = Linear(weight.contiguous(), weights.take("b_enc", atoms), TopK(k, relu=False))
    return Dictionary(decoder=rows.contiguous(), encoder=encoder, bias=bias, facts=facts)


register("qwen-scope", "Qwen Scope: layerN.sae.pt", _recognises, _read, options=("k",))
