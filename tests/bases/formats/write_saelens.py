"""Fixtures of SAELens, written by it: ``pip install sae-lens``, then run this file (some 15 seconds)."""

from __future__ import annotations

import json
import tempfile
from dataclasses import fields
from pathlib import Path

import torch
from sae_lens.registry import get_sae_class, get_sae_training_class
from sae_lens.saes.sae import SAE, SAEMetadata
from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening
from safetensors.torch import save_file
from writing import ATOMS, DIM, ROWS, expect, folder, inputs, note, shaken

OUT = 12  # of transcoders
HOOK = "blocks.3.hook_resid_post"
INTO = {"hook_name": "blocks.3.hook_mlp_in", "hook_name_out": "blocks.3.hook_mlp_out"}

# Case: architecture, what its configuration says beside the sizes, and metadata.
CASES = {
    "standard": ("standard", {}, {}),
    "no_pre_bias": ("standard", {"apply_b_dec_to_input": False}, {}),
    "layer_norm": ("standard", {"normalize_activations": "layer_norm"}, {}),
    "constant_norm": ("jumprelu", {"normalize_activations": "constant_norm_rescale"}, {}),
    "jumprelu": ("jumprelu", {"apply_b_dec_to_input": False}, {}),
    "topk": ("topk", {"k": 7}, {}),
    "topk_rescaled": ("topk", {"k": 7, "rescale_acts_by_decoder_norm": True}, {}),
    "abstopk": ("abstopk", {"k": 7}, {}),
    "gated": ("gated", {}, {}),
    "matching_pursuit": ("matching_pursuit", {"max_iterations": 6}, {}),
    "pursuit_no_bias": ("matching_pursuit", {"apply_b_dec_to_input": False, "residual_threshold": 1.5}, {}),
    "hook_z": ("standard", {"reshape_activations": "hook_z"}, {"hook_name": "blocks.3.attn.hook_z"}),
    "transcoder": ("transcoder", {"d_out": OUT, "apply_b_dec_to_input": False}, INTO),
    "skip_transcoder": ("skip_transcoder", {"d_out": OUT, "apply_b_dec_to_input": False}, INTO),
    "jumprelu_transcoder": ("jumprelu_transcoder", {"d_out": OUT, "apply_b_dec_to_input": False}, INTO),
    "jumprelu_skip_transcoder": (
        "jumprelu_skip_transcoder",
        {"d_out": OUT, "apply_b_dec_to_input": False},
        INTO,
    ),
}


def made(architecture: str, settings: dict, metadata: dict) -> SAE:
    sae_class, config_class = get_sae_class(architecture)
    told = SAEMetadata(model_name="tiny", **{"hook_name": HOOK, **metadata})
    sae = shaken(sae_class(config_class(d_in=DIM, d_sae=ATOMS, metadata=told, **settings)))
    if architecture == "matching_pursuit":  # trained with rows of length 1
        sae.W_dec.data /= sae.W_dec.data.norm(dim=-1, keepdim=True)
    return sae


def write_case(where: Path, case: str) -> None:
    sae = made(*CASES[case])
    sae.save_model(where / case)
    x = inputs(ROWS, 4, DIM // 4) if case == "hook_z" else inputs()
    codes = sae.encode(x)
    expect(where / case, x, codes, sae(x))


def write_scaled(where: Path) -> None:
    """Trained on activations times a factor, which the weights do not hold."""
    sae = made("standard", {"normalize_activations": "expected_average_only_in"}, {})
    sae.save_model(where / "average")
    sae.fold_activation_norm_scaling_factor(0.37)
    x = inputs()
    expect(where / "average", x, sae.encode(x), sae(x), scaling_factor=0.37)


def write_training(where: Path, case: str, architecture: str, settings: dict) -> None:
    """A checkpoint of training: expected is what its export for inference does."""
    sae_class, config_class = get_sae_training_class(architecture)
    known = {field.name for field in fields(config_class)}
    sae = shaken(sae_class(config_class(d_in=DIM, d_sae=ATOMS, **settings)))
    if "k" in known:
        sae.topk_threshold = torch.tensor(0.8, dtype=torch.double)
    sae.save_model(where / case)
    x = inputs()
    scaler = ActivationScaler()
    if settings.get("normalize_activations") == "covariance_whitening":
        values, vectors = torch.linalg.eigh(torch.cov(inputs(400, DIM, seed=5).T) + 0.3 * torch.eye(DIM))
        matrix, inverse = vectors * values**-0.5, (vectors * values**0.5).T
        scaler.whitening = ActivationWhitening(inputs(DIM, seed=6), matrix.contiguous(), inverse.contiguous())
        scaler.save(str(where / case / "activation_scaler.json"))
        sae.fold_activation_whitening(scaler.whitening.mean, matrix, inverse)
    with tempfile.TemporaryDirectory() as scratch:
        sae.save_inference_model(scratch)
        exported = SAE.load_from_disk(scratch)
    expect(where / case, x, exported.encode(x), exported(x))


def write_flat(where: Path, case: str, config: dict, more: dict[str, torch.Tensor]) -> None:
    """A configuration from before version 6: written by hand, expected from the package's own reading."""
    sae = made("standard", {}, {})
    (where / case).mkdir(exist_ok=True)
    save_file({**sae.state_dict(), **more}, where / case / "sae_weights.safetensors")
    flat = {"d_in": DIM, "d_sae": ATOMS, "dtype": "float32", "device": "cpu", "model_name": "tiny"}
    flat |= {"hook_point": "blocks.2.hook_mlp_out", "hook_point_layer": 2, **config}
    (where / case / "cfg.json").write_text(json.dumps(flat))
    exported = SAE.load_from_disk(where / case)
    x = inputs()
    expect(where / case, x, exported.encode(x), exported(x))


def main() -> None:
    torch.manual_seed(0)
    where = folder("saelens")
    for case in CASES:
        write_case(where, case)
    write_scaled(where)
    write_training(where, "batchtopk", "batchtopk", {"k": 7, "rescale_acts_by_decoder_norm": True})
    write_training(where, "whitened", "standard", {"normalize_activations": "covariance_whitening"})
    topk = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 6}}
    write_flat(where, "flat_topk", topk, {})
    write_flat(where, "flat_relu", {"normalize_activations": False}, {"scaling_factor": torch.ones(ATOMS)})
    note(where, "sae-lens")


if __name__ == "__main__":
    main()
