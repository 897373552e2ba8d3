"""What `generate` gives: beginnings, caches, conversations, rows that end, streams, chats, defaults."""

from __future__ import annotations

import oracles
import pytest
import tiny
import torch
import transformers

import steerlab as sl

VECTOR = torch.linspace(-3, 3, 32)
SITE = "blocks.1.resid"
PUSH = {SITE: sl.Add(VECTOR)}
TEXTS = ["the cat sat on Monday and", "Monday is red"]
ENDLESS = {"eos_token_id": None, "pad_token_id": tiny.PAD, "max_new_tokens": 8}
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} . {% endfor %}"
    "{% if add_generation_prompt %}the answer is {% endif %}"
)


def keys_and_values(cache) -> list[torch.Tensor]:
    """Of each block, ``[row, head, token, dim]``."""
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]


def from_forward(number: int):
    """By hand: move everything that is read from one forward on."""
    seen = [0]

    def change(x: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        return x + VECTOR if seen[0] > number else x

    return change


def by_hand(one, fn, rows: int = 2, **how) -> object:
    with oracles.hooked(one.tiny, one.tiny.model, oracles.points(one.tiny)[SITE], fn, rows):
        return one.tiny.model.generate(
            **one.tiny.padded, **ENDLESS, return_dict_in_generate=True, **{"do_sample": False, **how}
        )


@pytest.mark.parametrize("begin", [0, 1, 3])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "gpt_oss"])
def test_an_intervention_begins_after_so_many_tokens_and_leaves_what_is_cached(family, begin, held):
    one = held(family)
    bare = one.model.generate(one.tiny.padded, **ENDLESS)
    late = one.model.generate(one.tiny.padded, edit=PUSH, begin=begin, output_logits=True, **ENDLESS)
    truth = by_hand(one, from_forward(begin), output_logits=True)
    assert torch.equal(late.ids, truth.sequences)
    assert all(torch.equal(a, b) for a, b in zip(late.output.logits, truth.logits, strict=True))
    assert torch.equal(late.new_ids[:, :begin], bare.new_ids[:, :begin]) and late.prompt_tokens == 7
    assert not torch.equal(late.ids, bare.ids) and late.receipt[SITE].fires == 8 - begin
    if begin and family in ("llama", "gpt2"):  # sliding windows forget their first columns
        read = 7 + begin - 1
        for ours, theirs in zip(keys_and_values(late.cache), keys_and_values(bare.cache), strict=True):
            assert torch.equal(ours[:, :, :read], theirs[:, :, :read])
        assert not torch.equal(keys_and_values(late.cache)[4], keys_and_values(bare.cache)[4])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_a_cache_that_is_read_again_is_that_of_a_prefill_under_the_edit(family, held):
    one, begin = held(family), 3
    bare = one.model.generate(one.tiny.padded, **ENDLESS)
    new = one.model.generate(one.tiny.padded, edit=PUSH, begin=begin, recompute_cache=True, **ENDLESS)
    assert torch.equal(new.new_ids[:, :begin], bare.new_ids[:, :begin])
    ids, mask = new.ids[:, :-1], torch.ones_like(new.ids[:, :-1])
    mask[1, :3] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    point = oracles.points(one.tiny)[SITE]
    with oracles.hooked(one.tiny, one.tiny.model, point, lambda x: x + VECTOR, 2), torch.no_grad():
        truth = one.tiny.model(ids, attention_mask=mask, position_ids=positions, use_cache=True)
    pairs = zip(keys_and_values(new.cache), keys_and_values(truth.past_key_values), strict=True)
    for ours, theirs in pairs:
        real = slice(3, None) if ours.shape[2] == ids.shape[1] else slice(None)  # some keep a window alone
        assert torch.allclose(ours[:, :, real], theirs[:, :, real], atol=1e-5)
    assert torch.equal(truth.logits[:, -1].argmax(-1), new.ids[:, -1])


def test_what_is_cached_stays_and_what_is_read_again_differs(held):
    one, late = held("llama"), {"begin": 3, **ENDLESS}
    kept, again = (one.model.generate(one.tiny.padded, edit=PUSH, recompute_cache=c, **late) for c in (0, 1))
    a, b = keys_and_values(kept.cache)[4], keys_and_values(again.cache)[4]
    assert not torch.allclose(a[:, :, :9], b[:, :, :9], atol=1e-2)
    assert again.receipt[SITE].fires == kept.receipt[SITE].fires + 1


def test_a_conversation_goes_on_from_its_cache(held):
    one = held("llama")
    ids = one.tiny.inputs["input_ids"]
    first = one.model.generate(ids, edit=PUSH, **ENDLESS)
    whole = torch.cat([first.ids, ids[:, :3]], 1)
    on = {"edit": PUSH, "output_logits": True, **ENDLESS}
    second = one.model.generate(whole, past_key_values=first.cache, **on)
    anew = one.model.generate(whole, **on)
    assert torch.allclose(torch.stack(second.output.logits), torch.stack(anew.output.logits), atol=1e-4)
    assert second.receipt[SITE].tokens < anew.receipt[SITE].tokens
    assert second.prompt_tokens == whole.shape[1] and second.cache is first.cache


def test_generated_tokens_of_a_later_turn_are_counted_from_its_own_prompt(held):
    one = held("llama")
    ids = one.tiny.inputs["input_ids"]
    first = one.model.generate(ids, **ENDLESS)
    whole = torch.cat([first.ids, ids[:, :3]], 1)
    edit = {SITE: sl.Add(VECTOR).on(tokens="generated[1:3]")}
    second = one.model.generate(whole, edit=edit, past_key_values=first.cache, begin=1, **ENDLESS)
    assert second.receipt[SITE].tokens == 4


def test_an_old_cache_is_not_used_when_all_is_to_be_read_again(held):
    one = held("llama")
    ids = one.tiny.inputs["input_ids"]
    first = one.model.generate(ids, **ENDLESS)
    before = keys_and_values(first.cache)[4].clone()
    on = {"edit": PUSH, **ENDLESS}
    second = one.model.generate(first.ids, past_key_values=first.cache, recompute_cache=True, **on)
    assert torch.equal(second.ids, one.model.generate(first.ids, **on).ids)
    assert torch.equal(keys_and_values(first.cache)[4], before) and second.cache is not first.cache


class EndsAt(transformers.LogitsProcessor):
    """Has a row say the end at one step."""

    def __init__(self, row: int, columns: int) -> None:
        self.row, self.columns = row, columns

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, tiny.EOS] = -torch.inf
        if ids.shape[1] == self.columns:
            scores[self.row, tiny.EOS] = torch.inf
        return scores


@pytest.mark.parametrize("recompute", [False, True])
def test_a_row_that_had_ended_stays_ended_when_the_intervention_begins(recompute, held):
    one = held("llama")
    how = {"logits_processor": [EndsAt(0, 9)], "max_new_tokens": 8}
    late = one.model.generate(one.tiny.padded, edit=PUSH, begin=4, recompute_cache=recompute, **how)
    assert late.new_ids[0].tolist()[2:] == [tiny.EOS] + [tiny.PAD] * 5
    assert tiny.PAD not in late.new_ids[1].tolist()
    edit = {SITE: sl.Add(VECTOR).on(tokens="generated")}
    late = one.model.generate(one.tiny.padded, edit=edit, begin=4, recompute_cache=recompute, **how)
    # the last token is never read; with the cache read again, the first row's two words before its end too
    assert late.receipt[SITE].tokens == (2 + 7 if recompute else 4)


def test_sampling_draws_the_numbers_of_one_whole_run(held):
    one = held("llama")
    how = {"do_sample": True, **ENDLESS}

    def drawn(**more) -> torch.Tensor:
        torch.manual_seed(3)
        return one.model.generate(one.tiny.padded, **how, **more).new_ids

    bare = drawn()
    nothing = {SITE: sl.Add(torch.zeros(32))}
    assert torch.equal(drawn(edit=nothing, begin=3, strict=False), bare)
    assert torch.equal(drawn(edit=nothing, begin=3, recompute_cache=True, strict=False), bare)
    torch.manual_seed(3)
    truth = by_hand(one, from_forward(3), do_sample=True).sequences[:, 7:]
    assert torch.equal(drawn(edit=PUSH, begin=3), truth) and not torch.equal(truth, bare)


@pytest.mark.parametrize("how", [{"num_beams": 3}, {"num_return_sequences": 2, "num_beams": 2}], ids=str)
def test_a_list_holds_one_intervention_for_each_prompt_and_all_its_answers(how, held):
    one = held("llama")
    other = {SITE: sl.Scale(-1.0).on(tokens="last")}
    prompt = one.tiny.inputs["input_ids"]
    both = one.model.generate(prompt, edit=[PUSH, other], **how, **ENDLESS).ids
    each = [
        one.model.generate(prompt[i : i + 1], edit=e, **how, **ENDLESS).ids
        for i, e in enumerate([PUSH, other])
    ]
    assert torch.equal(both, torch.cat(each))
    alone = one.model.generate(prompt, edit=[None, other], **how, **ENDLESS).ids
    bare = one.model.generate(prompt, **how, **ENDLESS).ids
    half = len(bare) // 2
    assert torch.equal(alone[:half], bare[:half]) and torch.equal(alone[half:], each[1])
    assert not torch.equal(both[:half], bare[:half])


def test_a_beam_search_may_be_joined_later(held):
    one = held("llama")
    whole = one.model.generate(one.tiny.padded, num_beams=2, **ENDLESS)
    edit = {SITE: sl.Add(VECTOR).on(tokens="generated[4:]")}
    early, late = (
        one.model.generate(one.tiny.padded, edit=edit, begin=b, num_beams=2, **ENDLESS) for b in (0, 5)
    )
    assert torch.equal(early.ids, late.ids) and not torch.equal(early.ids, whole.ids)


def test_padding_on_the_right_is_moved_and_the_tokenizer_is_left_alone(held):
    one = held("llama")
    tokenizer = one.tiny.tokenizer
    right = tokenizer(TEXTS, return_tensors="pt", padding=True, padding_side="right")
    before = right["input_ids"].clone()
    edit = {SITE: sl.Add(VECTOR).on(tokens="word:Monday")}
    made = one.model.generate(right, edit=edit, **ENDLESS)
    assert made.texts == one.model.generate(TEXTS, edit=edit, **ENDLESS).texts
    assert torch.equal(right["input_ids"], before)
    apart = one.model.generate(before, attention_mask=right["attention_mask"], edit=edit, **ENDLESS)
    assert torch.equal(apart.ids, made.ids)
    turned = tiny.word_tokenizer(side="right")
    turned.padding_side = "right"
    held_right = sl.wrap(one.tiny.model, turned)
    prompts = [text + " <eos>" for text in TEXTS]
    assert held_right.generate(TEXTS, **ENDLESS).texts == one.model.generate(prompts, **ENDLESS).texts
    assert turned.padding_side == "right"


@pytest.fixture
def chatty(held):
    one = held("llama")
    tokenizer = tiny.word_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return sl.wrap(one.tiny.model, tokenizer)


def test_messages_are_the_text_of_the_template(chatty):
    chat = [{"role": "king", "content": "the red cat"}]
    text = "king the red cat . the answer is"
    ids = torch.tensor([chatty.processor(text, add_special_tokens=False)["input_ids"]])
    made = chatty.generate(chat, **ENDLESS)
    assert torch.equal(made.ids, chatty.generate(ids, **ENDLESS).ids)
    assert torch.equal(chatty.logits(chat), chatty.logits(ids))
    assert torch.equal(chatty.capture(chat, at=SITE)[SITE], chatty.capture(ids, at=SITE)[SITE])
    longer = [*chat, {"role": "assistant", "content": "dog"}, {"role": "king", "content": "and"}]
    both = chatty.generate([chat, longer], edit=[None, PUSH], **ENDLESS)
    assert both.texts[0] == made.texts[0]
    assert both.texts[1] == chatty.generate(longer, edit=PUSH, **ENDLESS).texts[0]


def test_an_answer_that_was_begun_goes_on(chatty):
    begun = [{"role": "king", "content": "the red cat"}, {"role": "assistant", "content": "dog"}]
    ids = chatty.generate(begun, **ENDLESS).ids
    words = "king the red cat . assistant dog"
    assert chatty.processor.decode(ids[0, :7]).split() == [
        word if word in chatty.processor.vocab else "<unk>" for word in words.split()
    ]


def test_a_stream_is_the_text_in_pieces(held, capsys):
    one, pieces = held("llama"), []
    made = one.model.generate(TEXTS[0], stream=pieces.append, edit=PUSH, begin=2, recompute_cache=True)
    assert len(pieces) > 5 and "".join(pieces) == made.texts[0] and all(pieces)
    one.model.generate(TEXTS[0], stream=True, edit=PUSH, begin=2, recompute_cache=True)
    assert capsys.readouterr().out == made.texts[0] + "\n" == str(made) + "\n"


def test_answers_are_greedy_and_64_tokens_long_unless_told_otherwise(held):
    one = held("llama")
    model, prompt = one.tiny.model, one.tiny.inputs["input_ids"][:1, :2]
    endless = {"eos_token_id": None, "pad_token_id": tiny.PAD}
    before, model.generation_config.do_sample = model.generation_config.do_sample, True
    try:
        greedy = one.model.generate(prompt, **endless)
    finally:
        model.generation_config.do_sample = before
    assert greedy.new_ids.shape == (1, 64)
    truth = model.generate(prompt, do_sample=False, max_new_tokens=64, **endless)
    assert torch.equal(greedy.ids, truth)
    torch.manual_seed(0)
    one_answer, other = (one.model.generate(prompt, temperature=9.0).new_ids for _ in range(2))
    assert one_answer.shape != other.shape or not torch.equal(one_answer, other)
    config = transformers.GenerationConfig(max_length=9, do_sample=False, **endless)
    assert torch.equal(one.model.generate(prompt, generation_config=config).ids, greedy.ids[:, :9])
    assert config.return_dict_in_generate is None


def test_without_an_edit_it_is_the_models_own_generate(held):
    one = held("gpt2")
    made = one.model.generate(one.tiny.padded, **ENDLESS)
    truth = one.tiny.model.generate(**one.tiny.padded, do_sample=False, **ENDLESS)
    assert torch.equal(made.ids, truth) and len(made.receipt) == 0
    nameless = sl.wrap(one.tiny.model).generate(one.tiny.padded, **ENDLESS)
    assert nameless.texts == [] and str(nameless) == "\n".join(str(row) for row in truth[:, 7:].tolist())
