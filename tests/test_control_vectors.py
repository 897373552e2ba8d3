"""Control vectors: what the gguf package reads of ours, what repeng wrote and did, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

import steerlab as sl
from steerlab.control_vectors import read_control_vector, write_control_vector

FIXTURES = Path(__file__).parent / "fixtures"
VECTOR = torch.randn(16, generator=torch.Generator().manual_seed(0))


def test_the_gguf_package_reads_the_vectors_of_an_intervention(tmp_path):
    file = tmp_path / "out.gguf"
    third = 2 * VECTOR.double()
    write_control_vector(
        {"blocks.2.resid": sl.Add(VECTOR, -1.5), "blocks[1].resid": [sl.Add(VECTOR).on()], 3: third},
        file,
        model_hint="llama",
    )
    reader = gguf.GGUFReader(file)
    fields = {name: reader.get_field(name).contents() for name in reader.fields if "." in name}
    assert fields["general.architecture"] == "controlvector"
    assert fields["controlvector.model_hint"] == "llama" and fields["controlvector.layer_count"] == 3
    stored = {t.name: (t.tensor_type, torch.from_numpy(t.data.copy())) for t in reader.tensors}
    expected = {"direction.1": VECTOR, "direction.2": -1.5 * VECTOR, "direction.3": third.float()}
    assert list(stored) == list(expected)
    for name, (kind, values) in stored.items():
        assert kind == gguf.GGMLQuantizationType.F32
        assert torch.equal(values, expected[name])
    back = read_control_vector(file)
    assert list(back) == ["blocks.1.resid", "blocks.2.resid", "blocks.3.resid"]
    assert torch.equal(back["blocks.2.resid"], -1.5 * VECTOR)
    write_control_vector(back, tmp_path / "again.gguf", model_hint="llama")
    assert (tmp_path / "again.gguf").read_bytes() == file.read_bytes()


def test_a_file_of_repeng_does_in_steerlab_what_it_does_in_repeng():
    values = load_file(FIXTURES / "repeng.safetensors")
    vectors = read_control_vector(FIXTURES / "repeng.gguf")
    assert list(vectors) == ["blocks.1.resid", "blocks.2.resid", "blocks.3.resid"]
    for n in (1, 2, 3):
        assert torch.equal(vectors[f"blocks.{n}.resid"], values[f"direction.{n}"])
    sizes = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=4, num_attention_heads=2)
    config = LlamaConfig(
        vocab_size=32, num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=True, **sizes
    )
    llama = LlamaForCausalLM(config).eval()
    state = {k.removeprefix("model."): v for k, v in values.items() if k.startswith("model.")}
    missing = llama.load_state_dict(state, strict=False).missing_keys
    assert set(missing) <= {"lm_head.weight"}
    model = sl.wrap(llama)
    with torch.no_grad():
        plain = llama(values["input_ids"]).logits
        with model.edit({site: sl.Add(vector, -1.5) for site, vector in vectors.items()}):
            steered = llama(values["input_ids"]).logits
    torch.testing.assert_close(plain, values["base"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(steered, values["steered"], atol=1e-5, rtol=1e-5)
    assert float((values["steered"] - values["base"]).abs().max()) > 1


@pytest.mark.parametrize(
    ("directions", "reason"),
    [
        ({}, "give vectors by block"),
        ({0: VECTOR}, "no vector for the first block"),
        ({-1: VECTOR}, "count blocks from the first one"),
        ({"blocks.*.resid": sl.Add(VECTOR)}, "only sites such as 'blocks.5.resid'"),
        ({"blocks.3.mlp": sl.Add(VECTOR)}, "acts on the output of one block"),
        ({"vision.blocks.3.resid": sl.Add(VECTOR)}, "acts on the output of one block"),
        ({"blocks.3.resid": sl.Zero()}, r"Zero\(\) is not the addition of a vector"),
        ({"blocks.3.resid": sl.Add(VECTOR).on(tokens="last")}, "acts on some entries only"),
        ({"blocks.3.resid": sl.Add(VECTOR).on(strength=0.5)}, "acts on some entries only"),
        ({"blocks.3.resid": [sl.Add(VECTOR), sl.Add(VECTOR)]}, "2 edits"),
        ({"blocks.3.resid": sl.Add(VECTOR[None])}, r"vector \[dim\], not a Tensor of shape \[1, 16\]"),
        ({3: VECTOR, "blocks.3.resid": VECTOR}, "block 3 has two vectors"),
        ({3: VECTOR, 4: VECTOR[:8]}, "one width"),
        ({3: VECTOR / 0}, "NaN or infinite"),
        ({3: [1.0, 2.0]}, "floating vector .dim., not a list"),
        ({3: torch.arange(4)}, "floating vector"),
    ],
)
def test_what_a_control_vector_cannot_say_is_refused(directions, reason, tmp_path):
    with pytest.raises(sl.SteerlabError, match=reason):
        write_control_vector(directions, tmp_path / "out.gguf")
    assert not list(tmp_path.iterdir())


def written(file: Path, architecture: str, tensors: dict[str, torch.Tensor]) -> Path:
    writer = gguf.GGUFWriter(file, architecture)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(
    ("architecture", "tensors", "reason"),
    [
        ("llama", {"direction.1": VECTOR}, "architecture 'llama', not of 'controlvector'"),
        ("controlvector", {"direction.0": VECTOR}, "'direction.0' is no direction"),
        ("controlvector", {"direction.x": VECTOR}, "'direction.x' is no direction"),
        ("controlvector", {"direction.1": VECTOR.half()}, "F16"),
        ("controlvector", {"direction.1": VECTOR.reshape(4, 4)}, r"shape \[4, 4\]"),
        ("controlvector", {"direction.1": VECTOR / 0}, "NaN or infinite"),
        ("controlvector", {"direction.1": VECTOR, "direction.2": VECTOR[:8]}, "one width"),
        ("controlvector", {"other": VECTOR}, "it holds: other"),
    ],
)
def test_files_that_are_no_control_vectors_are_refused(architecture, tensors, reason, tmp_path):
    file = written(tmp_path / "in.gguf", architecture, tensors)
    with pytest.raises(sl.SteerlabError, match=reason):
        read_control_vector(file)


def test_broken_and_missing_files_are_named(tmp_path):
    whole = (FIXTURES / "repeng.gguf").read_bytes()
    for length in (0, 3, 40, 200, len(whole) - 20):
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        with pytest.raises(sl.SteerlabError, match="cut.gguf is not a whole GGUF file"):
            read_control_vector(tmp_path / "cut.gguf")
    with pytest.raises(sl.SteerlabError, match="no such file"):
        read_control_vector(tmp_path / "absent.gguf")


def test_without_the_gguf_package_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(sl.SteerlabError, match=r"'gguf' is not installed: pip install gguf"):
        read_control_vector(FIXTURES / "repeng.gguf")
