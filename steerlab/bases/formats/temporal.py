"""Published temporal featurizers: the layout of arXiv 2511.01836 and that of SAELens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steerlab.bases.formats.config import choice, number, table, whole, word
from steerlab.bases.formats.files import Source, Weights
from steerlab.bases.formats.hook_names import lens_site
from steerlab.bases.temporal import TemporalFeaturizer
from steerlab.errors import SteerlabError

# Files of each layout, settings first, and the names of decoder, encoder and bias in it.
PAPER = ("conf.yaml", ("latest_ckpt.safetensors", "latest_ckpt.pt"), ("D", "E", "b"))
LENS = ("cfg.json", ("sae_weights.safetensors",), ("W_dec", "W_enc", "b_dec"))
LAYERS = {"query": "q_target", "key": "k_ctx", "value": "v_ctx", "output": "c_proj"}
CODES = ("topk", "relu")


@dataclass(frozen=True)
class _Settings:
    """What both layouts say: heads, ``k`` (None for all that are positive), and the scale if it is known."""

    heads: int
    k: int | None
    scale: float | None
    facts: dict[str, str | float]


def load_temporal(folder: str | Path, *, scale: float | None = None, skip: int = 1) -> TemporalFeaturizer:
    """Read a published temporal featurizer (arXiv 2511.01836); nothing in its files is run.

    Understood are ``conf.yaml`` beside ``latest_ckpt.safetensors`` or ``latest_ckpt.pt``, and what SAELens
    writes, ``cfg.json`` beside ``sae_weights.safetensors``. What steerlab trained itself is read by
    `TemporalFeaturizer.load`.

    Parameters
    ----------
    folder : path
        Where the two files are.
    scale : float, optional
        What activations are multiplied by first, where the files do not say it.
    skip : int
        Tokens at the beginning of each sequence that are left out. The published code leaves none out:
        ``skip=0`` gives its codes.
    """
    source = Source(Path(folder))
    layout = next((one for one in (PAPER, LENS) if source.has(one[0]) and source.beside(*one[1])), None)
    if layout is None:
        raise SteerlabError(
            f"{source.shown} holds neither {PAPER[0]} with {' or '.join(PAPER[1])}, nor {LENS[0]} with "
            f"{LENS[1][0]}; what steerlab saved itself is read by TemporalFeaturizer.load"
        )
    settings = _of_paper(source) if layout is PAPER else _of_lens(source)
    scale = settings.scale if scale is None else scale
    if scale is None:
        raise SteerlabError(f"{source.shown} does not say what activations are multiplied by: give scale=...")
    weights = _weights(source.weights(source.beside(*layout[1]) or ""), layout[2])
    return TemporalFeaturizer(
        weights, settings.heads, settings.k, scale=float(scale), skip=skip, facts=settings.facts
    )


def _of_paper(source: Source) -> _Settings:
    import yaml

    name = PAPER[0]
    try:
        content = yaml.safe_load((source.folder / name).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise SteerlabError(f"{name} is not YAML: {fault}") from None
    if not isinstance(content, dict):
        raise SteerlabError(f"{name} holds {type(content).__name__}, expected settings by name")
    cfg = table(content, "sae")
    given = number(cfg, "scaling_factor", name) if cfg.get("scaling_factor") is not None else None
    return _settings(cfg, name, given, {})


def _of_lens(source: Source) -> _Settings:
    name = LENS[0]
    cfg = source.json(name)
    choice(cfg.get("architecture"), ("temporal",), f"{name}: architecture")
    known = ("none", "constant_scalar_rescale")
    rule = choice(cfg.get("normalize_activations") or "none", known, f"{name}: normalize_activations")
    scale = 1.0 if rule == "none" else number(cfg, "activation_normalization_factor", name)
    site = lens_site(word(table(cfg, "metadata"), "hook_name") or "")
    return _settings(cfg, name, scale, {} if site is None else {"site": str(site)})


def _settings(
    cfg: Mapping[str, Any], name: str, scale: float | None, facts: dict[str, str | float]
) -> _Settings:
    kind = choice(cfg.get("sae_diff_type"), CODES, f"{name}: sae_diff_type")
    layers = whole({"n_attn_layers": 1} | dict(cfg), "n_attn_layers", name)
    if layers != 1:
        raise SteerlabError(f"{name}: n_attn_layers is {layers}; featurizers with one layer are read")
    k = whole(cfg, "kval_topk", name) if kind == "topk" else None
    return _Settings(whole(cfg, "n_heads", name), k, scale, facts)


def _weights(held: Weights, names: tuple[str, str, str]) -> dict[str, torch.Tensor]:
    """The tensors under our names; an encoder of its own is refused unless it is the decoder's transpose."""
    inner = held.other.get("sae")
    if isinstance(inner, Mapping):  # a checkpoint of the training
        held = Weights(inner, held.file)
    decoder, encoder = held.take(names[0], None, None), held.maybe(names[1])
    if encoder is not None and not any(torch.equal(one, decoder) for one in (encoder, encoder.T)):
        raise SteerlabError(
            f"{held.file}: its encoder {names[1]} is not the transpose of {names[0]} (tied_weights is "
            "false); a TemporalFeaturizer has one dictionary for both"
        )
    found = {"decoder": decoder, "bias": held.take(names[2]).flatten()}
    for own, theirs in LAYERS.items():
        found[own] = held.take(f"attn_layers.0.{theirs}.weight", None, len(decoder))
        found[f"{own}_bias"] = held.take(f"attn_layers.0.{theirs}.bias", len(found[own]))
    return found
