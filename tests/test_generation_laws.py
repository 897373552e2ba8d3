"""Laws 10 and 12 while a model generates: however it is run, the same entries are edited alike."""

from __future__ import annotations

import collections
from typing import Any

import pytest
import tiny
import torch
import transformers
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import steerlab as sl
from steerlab import zoo

VECTOR = torch.linspace(-1.5, 1.5, 32)
PROMPTS = ["the red cat sat on Monday and", "Monday", "cat and dog in Paris"]
SAID = ["cat Monday the dog Monday on", "dog Monday , <eos> <pad> <pad>", "the cat sat and Monday cat"]
ENDS = [6, 4, 6]  # steps whose logits belong to each row
FAMILIES = ["llama", "gpt2", "gemma3", "gpt_oss"]  # plain, learned places, windows, windows with sinks
EDITS = {
    "blocks.0.resid": sl.Add(VECTOR),
    "blocks.1.heads.2": sl.Scale(-2.0),
    "blocks.1.mlp": sl.Add(-VECTOR),
    "blocks.1.q": sl.Scale(2.0),
    "blocks.0.k": sl.Scale(-1.0),
    "blocks.1.v": sl.Scale(0.3),
    "blocks.1.pattern": sl.Scale(0.5),
}
# attention is shown cached keys again at every step, in rows that ended as well
SEEN_AGAIN = {"blocks.0.k", "blocks.1.v"}


def is_long(text: str) -> bool:
    return len(text.split()) >= 5


PLACES = st.one_of(
    st.sampled_from(["last", "prompt", "generated", "first", "word:Monday", "word:cat", "all"]),
    st.sampled_from(["generated[0:2]", "generated[3]", "generated[1:]", "1:4", "bos"]),
    st.integers(-2, 8),
    st.sampled_from([slice(2, 7), slice(-2, None), slice(None, -1), [0, 5], [-1, 3]]),
)
SCOPES = st.fixed_dictionaries(
    {"tokens": PLACES},
    optional={
        "when": st.sampled_from(["Monday", "cat", is_long]),
        "exclude": st.sampled_from(["first", "generated[0:1]", "word:the", -1]),
        "strength": st.sampled_from([0.5, 0.25]),
    },
)
SITES = st.sampled_from(sorted(EDITS))
# the same examples every time, none of them made smaller: a failure is told by its own numbers
FIXED = {"deadline": None, "derandomize": True, "database": None, "phases": (Phase.generate,)}
ROWS = st.sampled_from([None, [1], [0, 2], slice(1, None)])


class Forced(transformers.LogitsProcessor):
    """Has every row say what was written down, so that all runs read the same tokens."""

    def __init__(self, said: torch.Tensor, columns: int) -> None:
        self.said, self.columns = said, columns

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        now = self.said[:, ids.shape[1] - self.columns, None].repeat_interleave(len(ids) // len(self.said), 0)
        return torch.full_like(scores, -torch.inf).scatter(1, now, 0.0)


def words(tokenizer: Any, texts: list[str]) -> torch.Tensor:
    return torch.tensor([tokenizer.convert_tokens_to_ids(text.split()) for text in texts])


def run(model: sl.Model, prompts: list[str], said: torch.Tensor, edit: Any, **how: Any) -> sl.Generated:
    """Generate the words that are written down, and keep the logits of every step."""
    columns = model.processor(prompts, return_tensors="pt", padding=True)["input_ids"].shape[1]
    return model.generate(
        prompts, edit=edit, strict=False, max_new_tokens=said.shape[1], output_logits=True,
        logits_processor=[Forced(said, columns)], **how,
    )  # fmt: skip


def steps(made: sl.Generated, row: int, count: int) -> torch.Tensor:
    """Logits of one row, ``[step, vocabulary]``, up to its end."""
    return torch.stack([step[row] for step in made.output.logits])[:count]


def assert_same(one: sl.Generated, other: sl.Generated, what: str) -> None:
    for row, count in enumerate(ENDS):
        near = torch.allclose(steps(one, row, count), steps(other, row, count), atol=1e-4, rtol=1e-4)
        assert near, (what, row)


@pytest.mark.parametrize("family", FAMILIES)
def test_however_it_is_run_the_same_entries_are_edited(family, held):
    model = held(family).model
    said = words(model.processor, SAID)
    bare, chosen = run(model, PROMPTS, said, None), collections.Counter()

    @settings(max_examples=14, **FIXED)
    @given(site=SITES, scope=SCOPES, rows=ROWS)
    def law(site: str, scope: dict, rows: Any) -> None:
        edit = {site: EDITS[site].on(rows=rows, **scope)}
        cached = run(model, PROMPTS, said, edit)
        again = run(model, PROMPTS, said, edit)
        assert all(torch.equal(a, b) for a, b in zip(cached.output.logits, again.output.logits, strict=True))
        assert_same(cached, run(model, PROMPTS, said, edit, use_cache=False), "without a cache")
        assert_same(cached, run(model, PROMPTS, said, edit, prefill_chunk_size=3), "in chunks")
        alone, tokens = {site: EDITS[site].on(**scope)}, 0
        for row in range(3):
            edited = row in (range(3)[rows] if isinstance(rows, slice) else rows or range(3))
            single = run(model, PROMPTS[row : row + 1], said[row : row + 1], alone if edited else None)
            count = ENDS[row]
            assert torch.allclose(steps(single, 0, count), steps(cached, row, count), atol=1e-4, rtol=1e-4)
            tokens += sum(entry.tokens for entry in single.receipt)
        assert tokens == cached.receipt[site].tokens or site in SEEN_AGAIN
        chosen["scopes"] += tokens > 0
        chosen["effects"] += not torch.allclose(
            torch.stack(cached.output.logits), torch.stack(bare.output.logits), atol=1e-3
        )

    law()
    assert chosen["scopes"] >= 9 and chosen["effects"] >= 7, chosen


@pytest.mark.parametrize("family", FAMILIES)
def test_interventions_of_the_rows_of_a_batch_are_those_of_single_runs(family, held):
    model = held(family).model
    said, chosen = words(model.processor, SAID), collections.Counter()

    @settings(max_examples=8, **FIXED)
    @given(sites=st.tuples(SITES, SITES), scopes=st.tuples(SCOPES, SCOPES), alone=st.integers(0, 2))
    def law(sites: tuple, scopes: tuple, alone: int) -> None:
        edits = [{site: EDITS[site].on(**scope)} for site, scope in zip(sites, scopes, strict=True)]
        edits.insert(alone, None)
        together = run(model, PROMPTS, said, edits)
        tokens = 0
        for row, (edit, count) in enumerate(zip(edits, ENDS, strict=True)):
            single = run(model, PROMPTS[row : row + 1], said[row : row + 1], edit)
            ours, theirs = steps(together, row, count), steps(single, 0, count)
            assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4), row
            tokens += sum(entry.tokens for entry in single.receipt)
        total = sum(entry.tokens for entry in together.receipt)
        assert tokens == total or SEEN_AGAIN & set(sites)
        chosen["scopes"] += tokens > 0

    law()
    assert chosen["scopes"] >= 6, chosen


def loop(model: Any, tokenizer: Any, said: torch.Tensor, side: str) -> list[torch.Tensor]:
    """By hand: the prompt at once, then token by token with a cache; logits ``[row, vocabulary]`` a step."""
    given = tokenizer(PROMPTS, return_tensors="pt", padding=True, padding_side=side)
    ids, mask = given["input_ids"], given["attention_mask"]
    cache, logits = None, []
    for step in range(said.shape[1]):
        places = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with torch.no_grad():
            output = model(
                ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
            )
        cache = output.past_key_values
        last = mask.shape[1] - 1 - mask.flip(1).argmax(1) if step == 0 else torch.zeros(3, dtype=torch.long)
        logits.append(output.logits[torch.arange(3), last])
        ids = said[:, step, None]
        mask = torch.cat([mask, torch.ones(3, 1, dtype=torch.long)], 1)
    return logits


@pytest.mark.parametrize("keys", ["first", "word:Monday", "prompt", -1], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_keys_of_a_cache_are_chosen_as_keys_of_a_whole_text_are(family, keys, held):
    model = held(family).model
    said = words(model.processor, SAID)
    edit = {"blocks.2.pattern.1": sl.Scale(-2.0).on(tokens="generated", keys=keys)}
    cached = run(model, PROMPTS, said, edit)
    assert_same(cached, run(model, PROMPTS, said, edit, use_cache=False), "without a cache")
    assert_same(cached, run(model, PROMPTS, said, edit, prefill_chunk_size=3), "in chunks")
    assert cached.receipt["blocks.2.pattern.1"].tokens > 0


LOOPS = [("llama", "left"), ("gpt2", "left"), ("gemma3", "left"), ("llama", "right"), ("gpt2", "right")]


@pytest.mark.parametrize(("family", "side"), LOOPS)  # windows of attention count the padding behind a prompt
def test_a_loop_by_hand_with_padding_on_either_side_is_edited_as_generate_is(family, side, held):
    one, chosen = held(family), collections.Counter()
    said = words(one.tiny.tokenizer, SAID)

    @settings(max_examples=8, **FIXED)
    @given(site=SITES, scope=SCOPES)
    def law(site: str, scope: dict) -> None:
        edit = {site: EDITS[site].on(**scope)}
        truth = run(one.model, PROMPTS, said, edit)
        with one.model.edit(edit, strict=False) as receipt:
            first = loop(one.tiny.model, one.tiny.tokenizer, said, side)
            again = loop(one.tiny.model, one.tiny.tokenizer, said, side)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        for row, count in enumerate(ENDS):
            mine = torch.stack([step[row] for step in first])[:count]
            assert torch.allclose(mine, steps(truth, row, count), atol=1e-4, rtol=1e-4), row
        chosen["scopes"] += receipt[site].tokens > 0

    law()
    assert chosen["scopes"] >= 5, chosen


@pytest.mark.parametrize("tokens", ["prompt", "generated", "last", -1])
def test_several_tokens_behind_a_cache_may_be_either_outside_of_generate(tokens, held):
    one = held("llama")
    ids = one.tiny.inputs["input_ids"]
    with pytest.raises(sl.SteerlabError, match="2 tokens follow 5 cached ones outside of generate"):
        with one.model.edit({"blocks.1.resid": sl.Zero().on(tokens=tokens)}), torch.no_grad():
            cache = one.tiny.model(ids[:, :5], use_cache=True).past_key_values
            one.tiny.model(ids[:, 5:], past_key_values=cache)


def test_a_context_that_is_entered_midway_does_not_know_the_prompt(held):
    one = held("llama")
    ids = one.tiny.inputs["input_ids"]
    with torch.no_grad():
        cache = one.tiny.model(ids[:, :5], use_cache=True).past_key_values
    with pytest.raises(sl.SteerlabError, match="read the prompt ran before this context began"):
        with one.model.edit({"blocks.1.resid": sl.Zero().on(tokens="generated")}), torch.no_grad():
            one.tiny.model(ids[:, 5:6], past_key_values=cache)


SCOPED = {"blocks.0.resid": sl.Add(2 * VECTOR).on(tokens="generated[1:4]", exclude="word:cat")}


def test_the_models_own_generate_and_a_pipeline_of_transformers_are_edited_alike():
    made = tiny.tiny("llama")
    model = sl.wrap(made.model, made.tokenizer)
    how = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": tiny.PAD}
    truth = model.generate(PROMPTS, edit=SCOPED, **how)
    given = made.tokenizer(PROMPTS, return_tensors="pt", padding=True)
    pipe = transformers.pipeline("text-generation", model=made.model, tokenizer=made.tokenizer)
    config = transformers.GenerationConfig(**how)
    with model.edit(SCOPED):
        assert torch.equal(made.model.generate(**given, **how), truth.ids)
        outputs = pipe(PROMPTS, batch_size=3, generation_config=config, return_full_text=False)
    assert [out[0]["generated_text"].split() for out in outputs] == [text.split() for text in truth.texts]
    assert truth.texts != model.generate(PROMPTS, **how).texts


@pytest.mark.parametrize("helper", ["another model", "the prompt"])
def test_assisted_decoding_says_what_greedy_decoding_says(helper, held):
    one, other = held("llama"), held("qwen3")
    how = {"max_new_tokens": 12, "eos_token_id": None, "pad_token_id": tiny.PAD}
    helpers = {
        "another model": {"assistant_model": other.tiny.model},
        "the prompt": {"prompt_lookup_num_tokens": 3},
    }
    helped = helpers[helper]
    prompt = one.tiny.inputs["input_ids"][:1]
    for scope in ({}, {"tokens": "generated[2:6]"}, {"tokens": "last"}, {"tokens": slice(8, 12)}):
        edit = {"blocks.0.resid": sl.Add(2 * VECTOR).on(**scope)}
        truth = one.model.generate(prompt, edit=edit, **how)
        assert torch.equal(one.model.generate(prompt, edit=edit, **helped, **how).ids, truth.ids)
        assert not torch.equal(truth.ids, one.model.generate(prompt, **how).ids)


REAL = [
    ("blocks.12.mlp", {"tokens": "generated[1:4]"}),
    ("blocks.20.heads.3", {"tokens": "last"}),
    ("blocks.8.v", {"tokens": "word:Rome"}),
]


@pytest.fixture(scope="module")
def smollm2() -> sl.Model:
    brought = zoo.load("smollm2")
    return sl.wrap(brought.model, brought.processor)


@pytest.mark.parametrize(("site", "scope"), REAL, ids=[site for site, _ in REAL])
def test_a_real_model_with_padding_in_chunks_and_without_a_cache(site, scope, smollm2):
    prompts = ["Paris is in France. Rome is in", "The capital of Italy is the city of"]
    how = {"max_new_tokens": 4, "output_logits": True, "eos_token_id": None}
    edit = {site: sl.Scale(-1.5).on(**scope)}
    first = smollm2.generate(prompts, edit=edit, **how)
    columns, said = first.prompt_tokens, first.new_ids
    assert first.receipt[site].tokens > 0
    for more in ({"use_cache": False}, {"prefill_chunk_size": 4}):
        forced = Forced(said, columns)
        other = smollm2.generate(prompts, edit=edit, logits_processor=[forced], **how, **more)
        pairs = zip(first.output.logits, other.output.logits, strict=True)
        assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in pairs), more
    for row in range(2):
        width = len(smollm2.processor(prompts[row])["input_ids"])
        forced = Forced(said[row : row + 1], width)
        single = smollm2.generate(prompts[row], edit=edit, logits_processor=[forced], strict=False, **how)
        pairs = zip(first.output.logits, single.output.logits, strict=True)
        assert all(torch.allclose(a[row], b[0], atol=1e-4, rtol=1e-4) for a, b in pairs), row
