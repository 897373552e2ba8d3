"""SAELens dictionaries and transcoders: ``cfg.json`` beside ``sae_weights.safetensors``, old and new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Encoder, Gated, Linear
from steerlab.bases.facts import Facts
from steerlab.bases.folds import unit_rows
from steerlab.bases.formats.config import choice, number, table, whole, word
from steerlab.bases.formats.files import Source, Weights
from steerlab.bases.formats.format import register
from steerlab.bases.formats.hook_names import lens_site
from steerlab.bases.greedy import Greedy
from steerlab.bases.norms import ConstantLength, LayerNorm, Norm, Same, Standardise, Whitening
from steerlab.bases.rules import JumpRelu, Relu, TopK
from steerlab.errors import SteerlabError
from steerlab.sites import Site

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
SCALER, WHITENING = "activation_scaler.json", "activation_whitening.safetensors"
SEQUENCE_FILES = ("conf.yaml", "latest_ckpt.safetensors")  # the temporal architecture

TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
# Trained over a batch; at inference each token is compared with the threshold that training kept.
BATCHED = ("batchtopk", "matryoshka_batchtopk")
ARCHITECTURES = (
    *("standard", "jumprelu", "topk", "abstopk", "gated", "matching_pursuit"),
    *BATCHED,
    *TRANSCODERS,
    "temporal",
)
NORMS = ("none", "expected_average_only_in", "constant_norm_rescale", "layer_norm", "covariance_whitening")
# Names of fields before version 6.
RENAMED = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}


def _recognises(source: Source) -> bool:
    return source.has(*SEQUENCE_FILES) or (WEIGHTS in source.names and source.beside(CONFIG) is not None)


def _read(source: Source, options: Mapping[str, Any]) -> Dictionary:
    if source.has(*SEQUENCE_FILES):
        raise SteerlabError(_temporal(source.shown))
    cfg = _modern(source.json(CONFIG))
    kind = choice(cfg.get("architecture"), ARCHITECTURES, f"{CONFIG}: architecture")
    if kind == "temporal":
        raise SteerlabError(_temporal(source.shown))
    weights = source.weights(WEIGHTS)
    transcoder = kind in TRANSCODERS
    dim, atoms = whole(cfg, "d_in", CONFIG), whole(cfg, "d_sae", CONFIG)
    out = whole(cfg, "d_out", CONFIG) if transcoder else dim
    bias = weights.take("b_dec", out)
    subtracted = bool(cfg.get("apply_b_dec_to_input", True)) and not transcoder
    skip = weights.take("W_skip", out, dim).T.contiguous() if "skip" in kind else None
    dictionary = Dictionary(
        decoder=weights.take("W_dec", atoms, out),
        encoder=_encoder(kind, weights, cfg, (dim, atoms)),
        bias=bias if kind != "matching_pursuit" or subtracted else None,
        pre_bias=bias if subtracted else None,
        norm=_norm(cfg, source, options, transcoder),
        skip=skip,
        facts=_facts(cfg, source, transcoder),
    )
    return _finetuned(_rescaled(dictionary, kind, weights, cfg), weights, cfg)


def _temporal(shown: str) -> str:
    return (
        f"{shown}: a temporal SAE predicts each token's codes from all tokens before it by attention; "
        "there is no encoder of single activations that equals it. sl.load_temporal "
        "reads it as a TemporalFeaturizer, for whole sequences"
    )


def _modern(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration in the words of version 6, what was told about the model being flat in it."""
    if "metadata" in cfg:
        return {**table(cfg, "metadata"), **cfg}
    new = {RENAMED.get(key, key): value for key, value in cfg.items()}
    new.setdefault("architecture", "standard")
    activation = new.get("activation_fn", "relu")
    if activation == "topk":
        new["architecture"] = "topk"
        new["k"] = table(new, "activation_fn_kwargs").get("k", new.get("k"))
    elif activation != "relu":
        raise SteerlabError(f"{CONFIG}: activation {activation!r} is not known (known: relu, topk)")
    if isinstance(new.get("normalize_activations"), bool):
        new["normalize_activations"] = "expected_average_only_in" if new["normalize_activations"] else "none"
    return new


def _encoder(kind: str, weights: Weights, cfg: Mapping[str, Any], size: tuple[int, int]) -> Encoder:
    dim, atoms = size
    if kind == "matching_pursuit":
        return Greedy(
            whole({"max_iterations": dim} | _given(cfg, "max_iterations"), "max_iterations", CONFIG),
            nonnegative=True,
            tolerance=number(cfg, "residual_threshold", CONFIG) if cfg.get("residual_threshold") else 0.0,
            until_repeat=bool(cfg.get("stop_on_duplicate_support", True)),
        )
    weight = weights.take("W_enc", dim, atoms)
    if kind == "gated":
        vectors = (weights.take(name, atoms) for name in ("b_gate", "b_mag", "r_mag"))
        return Gated(weight, *vectors)
    bias = weights.take("b_enc", atoms)
    if kind in ("topk", "abstopk"):
        absolute = kind == "abstopk"
        rule = TopK(whole(cfg, "k", CONFIG), relu=not absolute, absolute=absolute)
    elif "jumprelu" in kind:
        rule = JumpRelu(weights.take("threshold", atoms))
    elif kind in BATCHED:
        rule = Relu()  # the threshold lives where codes are rescaled; see `_rescaled`
    else:
        rule = Relu()
    return Linear(weight, bias, rule)


def _given(cfg: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: cfg[key]} if cfg.get(key) is not None else {}


def _rescaled(dictionary: Dictionary, kind: str, weights: Weights, cfg: Mapping[str, Any]) -> Dictionary:
    """Codes in units of the rows' lengths, where the file ranks and counts them so."""
    counted = kind in ("topk", "abstopk", *BATCHED)
    if counted and cfg.get("rescale_acts_by_decoder_norm", kind in BATCHED):
        encoder = replace(dictionary.encoder, rule=Relu())
        unit = unit_rows(replace(dictionary, encoder=encoder))
        rule = dictionary.encoder.rule
        dictionary = replace(unit, encoder=replace(unit.encoder, rule=rule))
    if kind in BATCHED:
        threshold = torch.tensor([weights.number("topk_threshold")])
        dictionary = replace(dictionary, encoder=replace(dictionary.encoder, rule=JumpRelu(threshold)))
    return dictionary


def _finetuned(dictionary: Dictionary, weights: Weights, cfg: Mapping[str, Any]) -> Dictionary:
    """Before version 6 a tensor might multiply the codes on their way into the decoder."""
    factor = weights.maybe("scaling_factor", len(dictionary))
    if factor is None or bool(torch.allclose(factor, torch.ones_like(factor))):
        return dictionary
    if not cfg.get("finetuning_scaling_factor"):
        raise SteerlabError(
            f"{WEIGHTS} has a scaling_factor that {CONFIG} does not speak of (finetuning_scaling_factor)"
        )
    return replace(dictionary, decoder=dictionary.decoder * factor[:, None])


def _norm(cfg: Mapping[str, Any], source: Source, options: Mapping[str, Any], transcoder: bool) -> Norm:
    known = (
        "none",
        "expected_average_only_in",
        "constant_norm_rescale",
        "layer_norm",
        "covariance_whitening",
    )
    kind = choice(cfg.get("normalize_activations") or "none", known, f"{CONFIG}: normalize_activations")
    if kind == "none":
        return Same()
    if transcoder:
        raise SteerlabError(
            f"{CONFIG}: normalize_activations={kind!r}: what a transcoder does at its output is not stored"
        )
    if kind == "constant_norm_rescale":
        return ConstantLength()
    if kind == "layer_norm":
        return LayerNorm()
    scaler = source.json(SCALER) if source.beside(SCALER) else {}
    given = {**scaler, **options}
    if kind == "covariance_whitening":
        return _whitening(source, float(given.get("scaling_factor") or 1.0))
    if given.get("scaling_factor") is None:
        raise SteerlabError(
            f"{source.shown} was trained on activations times a factor (their mean length became sqrt(dim)) "
            "that its files do not hold: give scaling_factor=..., sqrt(dim) over the mean length"
        )
    scale = number(given, "scaling_factor", SCALER)
    return Standardise(torch.zeros(1), torch.tensor([1 / scale]))


def _whitening(source: Source, scale: float) -> Whitening:
    if source.beside(WHITENING) is None:
        raise SteerlabError(f"{source.shown}: its whitening is not folded in, and there is no {WHITENING}")
    held = source.weights(WHITENING)
    mean = held.take("mean", None)
    matrix, inverse = (held.take(name, len(mean), len(mean)) for name in ("matrix", "inverse_matrix"))
    return Whitening(mean / scale, matrix * scale, inverse / scale)


def _facts(cfg: Mapping[str, Any], source: Source, transcoder: bool) -> Facts:
    site = word(cfg, "hook_name")
    reads = None
    if transcoder:
        reads, site = site or "an input that its file does not name", word(cfg, "hook_name_out")
    elif isinstance(cfg.get("hook_head_index"), int) and lens_site(site or "") is not None:
        site = str(Site.parse(site)._replace(heads=str(cfg["hook_head_index"])))
    return Facts(
        site=site,
        reads=reads,
        model=word(cfg, "model_name"),
        source="saelens",
        l0=float(cfg["k"]) if isinstance(cfg.get("k"), int) else None,
        fingerprint=source.fingerprint(WEIGHTS),
    )


register(
    "saelens",
    "SAELens: cfg.json and sae_weights.safetensors",
    _recognises,
    _read,
    options=("scaling_factor",),
)
