"""Dictionaries of images: the folder's block, what its codes usually are, and pictures of other sizes."""

from __future__ import annotations

import json

import numpy as np
import published_others as others
import pytest
import torch
from published import Draw

import steerlab as sl
from steerlab.bases import BatchTopK, TopK
from steerlab.bases.formats import read_dictionary
from steerlab.bases.formats.sdxl_unbox import unet_site

X = torch.tensor(np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32))


@pytest.mark.parametrize(
    ("folder", "site"),
    [
        ("unet.down_blocks.2.attentions.1", "unet.down.2.1.update"),
        ("unet.mid_block.attentions.0", "unet.mid.0.update"),
        ("unet.up_blocks.0.attentions.0", "unet.up.0.0.update"),
        ("unet.up_blocks.0.attentions.1", "unet.up.0.1.update"),
    ],
)
def test_the_folder_names_the_block_whose_change_it_explains(folder, site, tmp_path):
    sae = sl.load_dictionary(others.sdxl_unbox(tmp_path, Draw(16, 64), folder).path)
    assert str(sae.site) == site and sae.facts.l0 == 10.0
    assert "output less its input" in sae.facts.assumptions[0]


def test_short_names_of_blocks_are_read_and_others_are_none():
    assert unet_site("/a/unet.down.2.1_k10") == "unet.down.2.1" and unet_site("unet.mid.0") == "unet.mid.0"
    assert unet_site("resnet.down.2.1") is None


def test_means_and_deviations_are_units_of_strength(tmp_path):
    made = others.sdxl_unbox(tmp_path, Draw(16, 64))
    sae = sl.load_dictionary(made.path)
    mean, std = (torch.load(made.path / f"{name}.pt", weights_only=True) for name in ("mean", "std"))
    assert sae.strength(7, 2.5, unit="mean") == pytest.approx(2.5 * float(mean[7]))
    assert sae.strength(7, 2.5, unit="std") == pytest.approx(2.5 * float(std[7]))
    for unit, missing in {"max": "max", "active_mean": "frequency", "norm": "norm"}.items():
        with pytest.raises(sl.SteerlabError, match=rf"the file gives no {missing} of its codes; measure it"):
            sae.strength(7, 1.0, unit=unit)
    part = sae.of(torch.tensor([7, 3])) if sae.encoder.is_local else sae.stats.of(torch.tensor([7, 3]))
    assert torch.equal(part.mean, mean[[7, 3]]) and part.max is None
    (made.path / "std.pt").unlink()
    assert sl.load_dictionary(made.path).stats.std is None
    torch.save(mean[:5], made.path / "mean.pt")
    with pytest.raises(sl.SteerlabError, match="mean.pt holds 5 numbers for 64 atoms"):
        sl.load_dictionary(made.path)
    (made.path / "mean.pt").unlink()
    assert sl.load_dictionary(made.path).stats is None


def test_pickles_that_would_run_code_are_refused(tmp_path):
    made = others.sdxl_unbox(tmp_path, Draw(16, 64))
    torch.save({"state_dict": {"encoder.weight": print}}, made.weights)
    with pytest.raises(sl.SteerlabError, match=r"state_dict.pth .* would run code .* nothing was run"):
        sl.load_dictionary(made.path)


def test_saeuron_chooses_by_patch_or_by_batch_and_not_by_image(tmp_path):
    made = others.saeuron(tmp_path, Draw(16, 64))
    sae = sl.load_dictionary(made.path)
    assert str(sae.site) == "unet.up.1.1.resid" and "trained with the strongest codes of a batch" in str(
        sae.facts.assumptions
    )
    batch = sl.load_dictionary(made.path, selection="batch")
    assert isinstance(sae.encoder.rule, TopK) and isinstance(batch.encoder.rule, BatchTopK)
    codes = batch.encode(X)
    assert int((codes != 0).sum()) == 6 * 40
    assert set((codes != 0).sum(1).tolist()) != {6} and set((sae.encode(X) != 0).sum(1).tolist()) == {6}
    config = json.loads((made.path / "cfg.json").read_text()) | {"sample_topk": True}
    (made.path / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(sl.SteerlabError, match="strongest codes of a whole image"):
        sl.load_dictionary(made.path)
    assert sl.load_dictionary(made.path, k=3).encoder.rule.k == 3


def test_the_plain_sparsify_layout_is_not_taken_for_it(tmp_path):
    made = others.saeuron(tmp_path, Draw(16, 64), unit=False)
    config = json.loads((made.path / "cfg.json").read_text())
    for field in ("batch_topk", "sample_topk", "input_unit_norm"):
        del config[field]
    (made.path / "cfg.json").write_text(json.dumps(config | {"num_latents": 64}))
    assert read_dictionary(made.path, None, {}).facts.source == "sparsify"
