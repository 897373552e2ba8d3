"""sparsify: folder names as sites, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from steerlab.bases.formats import FORMATS, read_dictionary
from steerlab.bases.formats.files import Source
from steerlab.bases.rules import GroupMax
from steerlab.errors import SteerlabError

FIXTURES = Path(__file__).parent / "fixtures" / "sparsify"


def changed(case: str, target: Path, **settings: object) -> Path:
    shutil.copytree(FIXTURES / case, target)
    config = json.loads((target / "cfg.json").read_text())
    (target / "cfg.json").write_text(json.dumps(config | settings))
    return target


@pytest.mark.parametrize(
    ("folder", "site"),
    [
        ("layers.3", "blocks.3.resid"),
        ("layers.5.mlp", "blocks.5.mlp"),
        ("h.1.attn", "blocks.1.attn"),
        ("embed_tokens", "embed"),
    ],
)
def test_the_folders_name_is_the_site(folder, site):
    sae = read_dictionary(FIXTURES / folder, None, {})
    assert str(sae.site) == site and sae.facts.assumptions == ()
    inside = read_dictionary(FIXTURES / folder / "sae.safetensors", None, {})
    assert inside.facts == sae.facts


def test_a_folder_of_another_name_leaves_the_site_open(tmp_path):
    sae = read_dictionary(changed("layers.3", tmp_path / "mine"), None, {})
    assert sae.site is None and "'mine'" in sae.facts.assumptions[0]


def test_transcoders_read_the_modules_input_and_keep_the_bias_for_decoding():
    sae = read_dictionary(FIXTURES / "layers.8.mlp", None, {})
    assert sae.facts.reads == "module:layers.8.mlp:input" and sae.is_transcoder
    assert sae.pre_bias is None and sae.skip is not None and not torch.equal(sae.skip, sae.skip.T)


def test_groups_must_divide_the_latents(tmp_path):
    assert isinstance(read_dictionary(FIXTURES / "h.1.attn", None, {}).encoder.rule, GroupMax)
    with pytest.raises(SteerlabError, match="48 latents do not make 7 equal groups"):
        read_dictionary(changed("h.1.attn", tmp_path / "h.1.attn", k=7), None, {})


def test_an_unknown_activation_is_named(tmp_path):
    with pytest.raises(SteerlabError, match="did you mean 'topk'"):
        read_dictionary(changed("layers.3", tmp_path / "layers.3", activation="topkk"), None, {})


def test_other_projects_with_the_same_two_files_are_left_to_their_own_format(tmp_path):
    copy = changed("layers.3", tmp_path / "layers.3", input_unit_norm=True)
    assert not FORMATS["sparsify"].recognises(Source(copy))
    assert FORMATS["sparsify"].recognises(Source(FIXTURES / "layers.3"))
