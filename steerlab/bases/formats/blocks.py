"""Block-sparse featurizers in a layout of our own: one safetensors file and the size of a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import whole, word
from steerlab.bases.formats.files import Source
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import lens_site
from steerlab.bases.rules import BlockTopK
from steerlab.errors import SteerlabError

CONFIG, WEIGHTS = "blocks.json", "blocks.safetensors"


def _recognises(source: Source) -> bool:
    return source.has(CONFIG, WEIGHTS)


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    """Codes of the blocks whose code is longest, signed; the bias is subtracted first and added at the end.

    No layout of such dictionaries is published. Ours: ``blocks.json`` with ``block_size``, ``active_blocks``
    and perhaps ``site``; ``blocks.safetensors`` with ``W_enc [dim, atom]``, ``W_dec [atom, dim]``,
    ``b_dec [dim]`` and perhaps ``b_enc [atom]``.
    """
    config, weights = source.json(CONFIG), source.weights(WEIGHTS)
    size, active = whole(config, "block_size", CONFIG), whole(config, "active_blocks", CONFIG)
    rows = weights.take("W_dec", None, None)
    atoms, dim = rows.shape
    if atoms % size or active > atoms // size:
        raise SteerlabError(f"{CONFIG}: {atoms} atoms do not hold {active} blocks of {size} each")
    bias, offset = weights.take("b_dec", dim), weights.maybe("b_enc", atoms)
    weight = weights.take("W_enc", dim, atoms)
    site = word(config, "site")
    if site is not None and lens_site(site) is None:
        raise SteerlabError(f"{CONFIG}: {site!r} is not a site")
    facts = Facts(
        site=site,
        source="blocks",
        l0=float(active * size),
        fingerprint=source.fingerprint(WEIGHTS),
    )
    encoder = Linear(weight, weight.new_zeros(atoms) if offset is None else offset, BlockTopK(active, size))
    return Dictionary(decoder=rows, encoder=encoder, bias=bias, pre_bias=bias, facts=facts)


register("blocks", "block-sparse: blocks.json and blocks.safetensors (our own layout)", _recognises, _read)
