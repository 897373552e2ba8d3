"""Files whose settings are wrong: the probe finds the reading that fits, and is silent for the right one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from steerlab.bases.formats import read_dictionary
from steerlab.bases.probing import Probe, probe

DIM = 24
GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.linalg.qr(torch.randn(DIM, DIM, generator=GENERATOR))[0]  # as many atoms as dimensions
BIAS = torch.randn(DIM, generator=GENERATOR)
ON = (torch.rand(800, DIM, generator=GENERATOR) < 0.15).float()
CODES = ON * (torch.rand(800, DIM, generator=GENERATOR) + 1.0)
STRETCH = 5.0  # so that a factor between raw and scaled activations is far from 1
X = STRETCH * (CODES @ ROWS + BIAS)


def probed(folder: Path, encoder: torch.Tensor, decoder: torch.Tensor, **settings: object) -> Probe:
    biases = {"b_enc": torch.zeros(DIM), "b_dec": STRETCH * BIAS}
    threshold = settings.pop("threshold", 0.5 * STRETCH)
    tensors = {"W_enc": encoder, "W_dec": decoder, "threshold": torch.full((DIM,), threshold), **biases}
    tensors = {name: t.clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {"architecture": "jumprelu", "d_in": DIM, "d_sae": DIM, "metadata": {}, **settings}
    (folder / "cfg.json").write_text(json.dumps(config))
    return probe(read_dictionary(folder, None, {}), X)


def test_the_right_file_raises_no_doubt(tmp_path):
    found = probed(tmp_path, ROWS.T, ROWS)
    assert found.warnings == () and found.r2 > 0.999
    assert found.l0 == pytest.approx(float(ON.sum(-1).mean()), abs=1e-3)


@pytest.mark.parametrize(
    ("encoder", "decoder", "settings", "reading"),
    [
        (ROWS, ROWS, {}, "the encoder were turned"),
        (ROWS.T, ROWS.T, {}, "the decoder were turned"),
        (ROWS, ROWS.T, {}, "both matrices were turned"),
        (ROWS.T, ROWS, {"apply_b_dec_to_input": False}, "the decoder's bias were subtracted first"),
    ],
)
def test_a_wrong_reading_is_told_from_the_right_one(encoder, decoder, settings, reading, tmp_path):
    found = probed(tmp_path, encoder, decoder, **settings)
    assert any(reading in sentence for sentence in found.warnings), found


def test_a_threshold_of_another_space_is_found_out(tmp_path):
    scale = DIM**0.5 / float(X.norm(dim=-1).mean())
    found = probed(tmp_path, ROWS.T, ROWS, threshold=0.5 * STRETCH / scale)
    assert found.r2 < 0.5
    assert any("the threshold were times sqrt(dim) over the mean length" in one for one in found.warnings), (
        found
    )
