"""Dictionaries by name: files, folders, sites that are said later, and names that cannot be opened."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl
from steerlab.errors import SteerlabError


@pytest.fixture
def file(tmp_path):
    decoder = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    sae = sl.Dictionary(
        decoder=decoder, encoder=sl.Pursuit(3), facts=sl.Facts(site="blocks.4.hook_resid_post")
    )
    sae.save(tmp_path / "one" / "sae.safetensors")
    return tmp_path / "one" / "sae.safetensors"


@pytest.mark.parametrize("how", (lambda f: f, lambda f: str(f), lambda f: f.parent))
def test_a_file_or_its_folder_opens(how, file):
    sae = sl.load_dictionary(how(file))
    assert len(sae) == 12 and str(sae.site) == "blocks.4.resid"


def test_a_site_may_be_said_when_opening(file):
    assert str(sl.load_dictionary(file, site="vision.blocks[2].resid").site) == "vision.blocks.2.resid"


def test_float16_halves_the_file_and_is_read_as_float32(file, tmp_path):
    sae = sl.load_dictionary(file)
    sae.save(tmp_path / "half.safetensors", dtype=torch.float16)
    half = sl.load_dictionary(tmp_path / "half.safetensors")
    assert half.decoder.dtype == torch.float32
    assert torch.equal(half.decoder, sae.decoder.half().float())
    assert not (tmp_path / "half.safetensors.part").exists()


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda file: sl.load_dictionary(3), "takes a file, folder or name, not int"),
        (lambda file: sl.load_dictionary("./no/such"), "no such file or folder, and not a hub id"),
        (
            lambda file: sl.load_dictionary("nobody/nothing/here"),
            "neither a file or folder here nor a hub id",
        ),
        (lambda file: sl.load_dictionary("zoo:what"), "'what' is no dictionary"),
        (lambda file: sl.load_dictionary(file, format="saelenz"), "did you mean 'saelens'"),
        (
            lambda file: sl.load_dictionary(file, k=3),
            "'k' is not an option of the format 'steerlab': it has none",
        ),
        (lambda file: sl.load_dictionary(file, site="blocks.3"), "is a place without a stream"),
        (
            lambda file: sl.load_dictionary(file.parents[1]),
            "holds several dictionaries; name one of its folders",
        ),
    ],
)
def test_what_cannot_be_opened_is_said(ask, says, file, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SteerlabError, match=says):
        ask(file)


def test_a_broken_file_speaks_for_itself(file):
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(SteerlabError, match="sae.safetensors is not a whole safetensors file"):
        sl.load_dictionary(file)
