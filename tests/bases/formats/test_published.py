"""Published layouts: recognised, equal to their references, kept by our own file, refused where broken."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import published_others as others
import published_text as text
import pytest
import torch
from published import Draw
from safetensors.torch import load_file, save_file

import steerlab as sl
from steerlab.bases.formats import own, read_dictionary
from steerlab.bases.formats.files import Source
from steerlab.bases.formats.format import recognised

TRANSCODER = {"lengths": (4.0, 0.9), "hooks": ("ln2.hook_normalized", "hook_mlp_out")}
LAYOUTS = {
    "gemma-scope": text.gemma_scope,
    "gemma-scope: transcoder": partial(text.gemma_scope, kind="transcoders"),
    "gemma-scope-2": text.gemma_scope_2,
    "gemma-scope-2: affine": partial(text.gemma_scope_2, affine=True),
    "llama-scope": text.llama_scope,
    "llama-scope: transcoder": partial(text.llama_scope, **TRANSCODER),
    "llama-scope-r1": text.llama_scope_r1,
    "llamascopium: transcoder": text.llamascopium,
    "llamascopium: top-k": partial(text.llamascopium, act="topk", norm="inference"),
    "llamascopium: token": partial(text.llamascopium, act="relu", norm="token-wise"),
    "openai": text.openai,
    "openai: relu": partial(text.openai, act="ReLU"),
    "goodfire-r1": text.goodfire_r1,
    "goodfire-llama": text.goodfire_llama,
    "qwen-scope": text.qwen_scope,
    "transcoders": text.transcoders,
    "transcoders: skip": partial(text.transcoders, skips=True),
    "sdxl-unbox": others.sdxl_unbox,
    "saeuron": others.saeuron,
    "saeuron: raw": partial(others.saeuron, unit=False),
    "crosscoder": others.crosscoder,
    "spade": others.spade,
    "blocks": others.blocks,
}
X = np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32) * 1.5


@pytest.mark.parametrize("atoms", [64, 16], ids=["wide", "square"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_codes_and_reconstructions_are_those_of_the_reference(name, atoms, tmp_path):
    made = LAYOUTS[name](tmp_path, Draw(16, atoms))
    source = Source(made.path)
    assert recognised(source).name == name.split(":")[0]
    loaded = read_dictionary(made.path, None, made.options)
    z, x_hat = made.forward(X.astype(np.float64))
    share = (z != 0).mean()
    assert 0.02 < share < 0.9  # neither all nor nothing is active
    x = torch.tensor(X)
    codes = loaded.encode(x)
    np.testing.assert_allclose(codes.numpy(), z, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(loaded.decode(codes, x).numpy(), x_hat, atol=1e-5, rtol=1e-5)
    assert loaded.facts.fingerprint and loaded.facts.source


@pytest.mark.parametrize("name", LAYOUTS)
def test_our_own_file_holds_what_was_read(name, tmp_path):
    made = LAYOUTS[name](tmp_path / "theirs", Draw(16, 64))
    loaded = read_dictionary(made.path, None, made.options)
    own.save(loaded, tmp_path / "own" / "dictionary.safetensors")
    again = sl.load_dictionary(tmp_path / "own")
    x = torch.tensor(X)
    assert torch.equal(again.encode(x), loaded.encode(x))
    assert torch.equal(again.reconstruct(x), loaded.reconstruct(x)) and again.facts == loaded.facts


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_truncated_file_is_named(name, tmp_path):
    made = LAYOUTS[name](tmp_path, Draw(16, 64))
    whole = made.weights.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 30):
        made.weights.write_bytes(whole[:length])
        with pytest.raises(sl.SteerlabError, match=f"{made.weights.name}.* is not a whole"):
            read_dictionary(made.path, None, made.options)


def changed(file: Path, change: Callable[[dict], None]) -> None:
    """Write a file of weights again after a change of its tensors."""
    if file.suffix == ".safetensors":
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)
    elif file.suffix == ".npz":
        tensors = {name: torch.tensor(value) for name, value in np.load(file).items()}
        change(tensors)
        np.savez(file, **{name: t.numpy() for name, t in tensors.items()})
    else:
        content = torch.load(file, weights_only=True)
        change(content.get("state_dict", content))
        torch.save(content, file)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_hole_and_a_missing_tensor_are_named(name, tmp_path):
    made = LAYOUTS[name](tmp_path, Draw(16, 64))
    format = recognised(Source(made.path)).name
    victim = {}

    def spoil(tensors):
        largest = max(
            tensors, key=lambda n: tensors[n].numel() if isinstance(tensors[n], torch.Tensor) else 0
        )
        victim["name"] = largest
        tensors[largest].view(-1)[3] = torch.nan

    changed(made.weights, spoil)
    with pytest.raises(sl.SteerlabError, match="1 of [0-9]+ entries are NaN or infinite"):
        read_dictionary(made.path, format, made.options)
    changed(made.weights, lambda tensors: tensors.pop(victim["name"]))
    with pytest.raises(sl.SteerlabError, match="has no"):
        read_dictionary(made.path, format, made.options)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_bias_of_another_width_is_refused(name, tmp_path):
    made = LAYOUTS[name](tmp_path, Draw(16, 64))

    def cut(tensors):
        tensors.pop("stats_last_nonzero", None)
        lengths = {n: len(t) for n, t in tensors.items() if isinstance(t, torch.Tensor) and t.ndim == 1}
        longest = max(lengths, key=lengths.get)
        tensors[longest] = tensors[longest][:-1].clone()

    changed(made.weights, cut)
    with pytest.raises(sl.SteerlabError, match=r"has shape|thresholds"):
        read_dictionary(made.path, name.split(":")[0], made.options)
