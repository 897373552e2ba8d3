"""EleutherAI's sparsify: one folder a hook point, with ``cfg.json`` and ``sae.safetensors``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Linear
from steerlab.bases.facts import Facts
from steerlab.bases.formats.config import choice, whole
from steerlab.bases.formats.files import Source
from steerlab.bases.formats.format import register
from steerlab.bases.rules import GroupMax, Rule, TopK
from steerlab.errors import SteerlabError

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
# Fields of other projects that write the same two files and do more to an activation.
FOREIGN = ("input_unit_norm", "sample_topk", "batch_topk")
# The names of folders, which are module paths inside the base model.
SITES = (
    (re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)"), "blocks.{}.resid"),
    (re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)\.mlp"), "blocks.{}.mlp"),
    (re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)\.(?:self_attn|attn|attention)"), "blocks.{}.attn"),
    (re.compile(r"(?:.*\.)?(?:embed_tokens|wte|embed_in)()"), "embed"),
)


def _recognises(source: Source) -> bool:
    if WEIGHTS not in source.names or source.beside(CONFIG) is None:
        return False
    try:
        return not any(field in source.json(CONFIG) for field in FOREIGN)
    except SteerlabError:
        return True  # reading it says what is wrong with the file


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    cfg, weights = source.json(CONFIG), source.weights(WEIGHTS)
    dim = whole(cfg, "d_in", CONFIG)
    atoms = cfg.get("num_latents") or dim * whole(cfg, "expansion_factor", CONFIG)
    bias = weights.take("b_dec", dim)
    transcode = bool(cfg.get("transcode", False))
    weight = weights.take("encoder.weight", atoms, dim).T.contiguous()
    skip = weights.take("W_skip", dim, dim).T.contiguous() if cfg.get("skip_connection") else None
    rule = _rule(cfg, atoms)
    return Dictionary(
        decoder=weights.take("W_dec", atoms, dim),
        encoder=Linear(weight, weights.take("encoder.bias", atoms), rule),
        bias=bias,
        pre_bias=None if transcode else bias,
        skip=skip,
        facts=_facts(source, cfg, transcode),
    )


def _rule(cfg: Mapping[str, Any], atoms: int) -> Rule:
    k = whole(cfg, "k", CONFIG)
    if choice(cfg.get("activation", "topk"), ("topk", "groupmax"), f"{CONFIG}: activation") == "groupmax":
        if atoms % k:
            raise SteerlabError(f"{CONFIG}: {atoms} latents do not make {k} equal groups")
        return GroupMax(k)
    signed = bool(cfg.get("signed", False))
    return TopK(k, relu=not signed, absolute=signed)


def _facts(source: Source, cfg: Mapping[str, Any], transcode: bool) -> Facts:
    hook = source.folder.resolve().name
    site = next((made.format(*m.groups()) for name, made in SITES if (m := name.fullmatch(hook))), None)
    assumed = [] if site else [f"the folder's name, {hook!r}, is no hook point that is known: no site"]
    reads = None
    if transcode:
        reads = f"module:{hook}:input"
        assumed.append(
            f"{hook!r} is a path inside the base model; the whole model may need a prefix before it"
        )
    return Facts(
        site=site,
        reads=reads,
        source="sparsify",
        l0=float(cfg["k"]),
        fingerprint=source.fingerprint(WEIGHTS),
        assumptions=tuple(assumed),
    )


register("sparsify", "EleutherAI sparsify: cfg.json and sae.safetensors", _recognises, _read)
