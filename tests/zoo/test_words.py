"""The tokenizer that the embedded text towers share."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer, CLIPTokenizer

from steerlab.zoo import scenes
from steerlab.zoo.training.words import BEGIN, END, word_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return word_tokenizer()


def captions() -> list[str]:
    generator = torch.Generator().manual_seed(3)
    return scenes.random_captions(scenes.random_scenes(300, generator), generator)


def test_every_word_is_one_token_of_its_own(tokenizer):
    ids = [tokenizer(word, add_special_tokens=False).input_ids for word in scenes.vocabulary()]
    assert {len(one) for one in ids} == {1}
    assert len({one[0] for one in ids}) == len(scenes.vocabulary())


def test_a_caption_has_a_token_a_word_between_two_marks(tokenizer):
    for caption in captions():
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(caption).input_ids)
        assert tokens == [BEGIN, *(f"{word}</w>" for word in caption.split()), END]


def test_decoding_gives_the_caption_back(tokenizer):
    for caption in captions():
        assert tokenizer.decode(tokenizer(caption).input_ids, skip_special_tokens=True) == caption


def test_other_words_are_spelt_and_never_unknown(tokenizer):
    ids = tokenizer("Zwölf red kites, 3 日!", add_special_tokens=False).input_ids
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids) == "zwölf red kites , 3 日 !"
    assert tokenizer("RED").input_ids == tokenizer("red").input_ids


def test_texts_are_padded_and_cut_to_the_length():
    tokenizer = word_tokenizer(length=6)
    long = "a small red circle on the left"
    ids = tokenizer(["two stars", long], padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert ids.shape == (2, 6)
    assert ids[0, 3:].tolist() == [tokenizer.eos_token_id] * 3
    assert ids[1, -1] == tokenizer.eos_token_id


def test_the_marks_have_the_highest_ids(tokenizer):
    # CLIP's text tower finds the end either by its id or as the highest one
    assert [tokenizer.bos_token_id, tokenizer.eos_token_id] == [len(tokenizer) - 2, len(tokenizer) - 1]


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    for kind in (CLIPTokenizer, AutoTokenizer):
        back = kind.from_pretrained(tmp_path)
        assert back.get_vocab() == tokenizer.get_vocab()
        assert back.model_max_length == 16
        assert back(captions()).input_ids == tokenizer(captions()).input_ids
