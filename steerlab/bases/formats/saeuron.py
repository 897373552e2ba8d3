"""SAeUron's variation of sparsify (arXiv 2501.18052): patches of a UNet, normalised one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import choice, whole
from steerlab.bases.formats.files import Source
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import folders
from steerlab.bases.formats.sdxl_unbox import unet_site
from steerlab.bases.norms import LayerNorm, Same
from steerlab.bases.rules import BatchTopK, TopK
from steerlab.errors import SteerlabError

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
OWN_FIELDS = ("batch_topk", "sample_topk", "input_unit_norm")
SELECTIONS = ("patch", "batch")


def is_saeuron(config: Mapping[str, Any]) -> bool:
    """Whether a sparsify configuration has the fields that this variation adds."""
    return any(field in config for field in OWN_FIELDS)


def _recognises(source: Source) -> bool:
    if not source.has(CONFIG, WEIGHTS):
        return False
    try:
        return is_saeuron(source.json(CONFIG))
    except SteerlabError:
        return False


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    config, weights = source.json(CONFIG), source.weights(WEIGHTS)
    rows = weights.take("W_dec", None, None)
    atoms, dim = rows.shape
    assumptions = ()
    if "k" in options:
        k = whole(options, "k", "the options")
    elif config.get("sample_topk"):
        raise SteerlabError(
            f"{CONFIG} says sample_topk: the k strongest codes of a whole image, which no patch can tell by "
            "itself; give k=, how many a patch shall have"
        )
    else:
        k = whole(config, "k", CONFIG)
    selection = choice(options.get("selection", "patch"), SELECTIONS, "selection")
    if config.get("batch_topk") and selection == "patch":
        assumptions = ("trained with the strongest codes of a batch; read with the strongest of each patch",)
    site = unet_site(folders(source.folder))
    facts = Facts(
        site=None if site is None else f"{site}.resid",
        source="saeuron",
        l0=float(k),
        fingerprint=source.fingerprint(WEIGHTS),
        assumptions=assumptions,
    )
    bias = weights.take("b_dec", dim)
    weight = weights.take("encoder.weight", atoms, dim).T.contiguous()
    rule = TopK(k) if selection == "patch" else BatchTopK(k)
    return Dictionary(
        decoder=rows,
        encoder=Linear(weight, weights.take("encoder.bias", atoms), rule),
        bias=bias,
        pre_bias=bias,
        norm=LayerNorm(eps=1e-5, unbiased=True) if config.get("input_unit_norm") else Same(),
        facts=facts,
    )


register(
    "saeuron",
    "SAeUron: cfg.json with input_unit_norm or batch_topk, and sae.safetensors",
    _recognises,
    _read,
    options=("k", "selection"),
)
