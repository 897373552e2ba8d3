"""Goodfire's dictionaries: of DeepSeek-R1, with one matrix for both ways, and of Llama 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import number, whole
from steerlab.bases.formats.files import Source
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import said
from steerlab.bases.rules import JumpRelu, Relu, Rule, TopK
from steerlab.errors import SteerlabError

TIED = {"W", "b_enc", "b_dec"}
LINEAR = {f"{side}_linear.{what}" for side in ("encoder", "decoder") for what in ("weight", "bias")}
# How many codes a token had in training, by the folder of the release.
CODES = {"math": 128, "logic": 64}


def _file(source: Source) -> str | None:
    files = source.ending(".pt", ".pth")
    return files[0] if len(files) == 1 else None


def _recognises_tied(source: Source) -> bool:
    file = _file(source)
    return file is not None and source.keys(file) == TIED


def _read_tied(source: Source, options: Mapping[str, Any]) -> Dictionary:
    file = _file(source) or source.names[0]
    weights = source.weights(file)
    weight = weights.take("W", None, None)
    dim, atoms = weight.shape
    rule, l0, assumption = _chosen(source, file, options)
    facts = Facts(
        site=_site(source, file),
        model="deepseek-ai/DeepSeek-R1",
        source="goodfire-r1",
        l0=l0,
        fingerprint=source.fingerprint(file),
        assumptions=(assumption, "the rows of the decoder have no common length: strengths differ by atom"),
    )
    encoder = Linear(weight, weights.take("b_enc", atoms), rule)
    return Dictionary(
        decoder=weight.T.contiguous(), encoder=encoder, bias=weights.take("b_dec", dim), facts=facts
    )


def _chosen(source: Source, file: str, options: Mapping[str, Any]) -> tuple[Rule, float | None, str]:
    """Trained with the strongest codes of a batch, which no single token can tell."""
    if "k" in options and "threshold" in options:
        raise SteerlabError("give k or threshold, not both")
    if "threshold" in options:
        threshold = number(options, "threshold", "the options")
        return JumpRelu(torch.tensor([threshold])), None, f"codes above {threshold:g} are kept"
    folder = said(r"[/_-](math|logic)[/_.-]", source.folder / file)
    if "k" not in options and folder is None:
        raise SteerlabError(
            f"{file} was trained with the strongest codes of a batch and does not say how many; "
            "give k=128 (math), k=64 (logic), or threshold="
        )
    k = whole(options, "k", "the options") if "k" in options else CODES[folder]
    return TopK(k), float(k), f"the {k} strongest codes of a token; trained with {k} a token of a batch"


def _recognises_linear(source: Source) -> bool:
    file = _file(source)
    return file is not None and source.keys(file) == LINEAR


def _read_linear(source: Source, options: Mapping[str, Any]) -> Dictionary:
    file = _file(source) or source.names[0]
    weights = source.weights(file)
    rows = weights.take("decoder_linear.weight", None, None).T.contiguous()
    atoms, dim = rows.shape
    weight = weights.take("encoder_linear.weight", atoms, dim).T.contiguous()
    model = said(r"(Llama-3\.\d-\d+B-Instruct)", source.folder / file)
    facts = Facts(
        site=_site(source, file),
        model=model and f"meta-llama/{model}",
        source="goodfire-llama",
        l0={"8B": 91.0, "70B": 121.0}.get(said(r"-(\d+B)-", source.folder / file) or ""),
        fingerprint=source.fingerprint(file),
    )
    encoder = Linear(weight, weights.take("encoder_linear.bias", atoms), Relu())
    return Dictionary(
        decoder=rows, encoder=encoder, bias=weights.take("decoder_linear.bias", dim), facts=facts
    )


def _site(source: Source, file: str) -> str | None:
    block = said(r"-l(\d+)\.pth?$", source.folder / file)
    return None if block is None else f"blocks.{block}.resid"


register(
    "goodfire-r1",
    "Goodfire's DeepSeek-R1 dictionaries: a .pt file with W, b_enc, b_dec",
    _recognises_tied,
    _read_tied,
    options=("k", "threshold"),
)
register(
    "goodfire-llama",
    "Goodfire's Llama 3 dictionaries: a .pth file with encoder_linear and decoder_linear",
    _recognises_linear,
    _read_linear,
)
