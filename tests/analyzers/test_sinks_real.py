"""SmolLM2's first token is a sink that it cannot do without once it has leant on it."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl
from steerlab.analyzers.sinks import SinkRules, sink_facts, sink_scores, sink_tables

TEXT = (
    "The old lighthouse stood on the cliff, and every evening the keeper climbed the stairs to light the "
    "lamp. He had done so for forty years, through storms and calm, and he knew each step by heart. On some "
    "nights the fog was so thick that he could not see the rail in front of him."
)
FROM = 16  # tokens before still see every key, so that no other token becomes the sink


@pytest.fixture(scope="module")
def smollm2():
    return sl.load("zoo:smollm2")


def test_the_first_token_is_the_sink_of_most_heads(smollm2):
    facts = sink_facts(smollm2, [TEXT], "blocks.12:30.pattern")
    table = sink_tables(facts, SinkRules(), 0.5)
    kinds = [kind for kind in table["heads"]["type"] if kind]
    assert len(kinds) >= 15 and set(kinds) == {"first"}
    no_ops = [of == "no-op" for of in table["heads"]["class"]]
    assert sum(no_ops) >= 10
    assert float((facts.values["first_strength"] > 0.3).float().mean()) > 0.8
    scores = sink_scores(smollm2, [TEXT], at="blocks.12:30.pattern")
    torch.testing.assert_close(  # the mean over later queries, and over all of them
        (scores * (facts_count(smollm2) - 1) + 1) / facts_count(smollm2),
        facts.values["first_strength"],
        rtol=1e-4,
        atol=1e-5,
    )


def facts_count(model) -> int:
    return len(model.processor(TEXT)["input_ids"])


def test_without_the_first_key_what_follows_is_lost_and_without_another_it_is_not(smollm2):
    ids = smollm2.processor(TEXT, return_tensors="pt")["input_ids"]

    def perplexity() -> float:
        logits = smollm2.logits({"input_ids": ids})
        return float(torch.nn.functional.cross_entropy(logits[0, FROM:-1], ids[0, FROM + 1 :]).exp())

    found = {"base": perplexity()}
    for key in (0, 4, 9):
        gone = sl.Clamp(high=-1e9).on(keys=[key], tokens=f"{FROM}:")
        with smollm2.edit({"blocks.*.scores": gone}):
            found[key] = perplexity()
    assert found[0] > 3 * found["base"]
    assert max(found[4], found[9]) < 1.2 * found["base"]
