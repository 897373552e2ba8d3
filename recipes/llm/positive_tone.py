"""Steer SmolLM2 toward a positive tone with a contrastive vector, and judge it by scorers that never saw it.

The vector is the difference of means of 64 pairs of sentences at one block. Judges: a logistic probe at
another block, fitted on other words, reads the generated text with nothing attached; and the likelihood of
held-out continuations. Beside them stand random vectors of the same length, and the perplexity of plain
prose, which says what the steering costs. For another model change MODEL, BLOCK and PROBE_BLOCK.
"""

from __future__ import annotations

import argparse
import json
import math
from contextlib import nullcontext
from pathlib import Path

import torch

import steerlab as sl

MODEL, BLOCK, PROBE_BLOCK = "zoo:smollm2", 14, 9
STRENGTHS = (-0.2, -0.1, 0.0, 0.1, 0.2)  # in units of the stream's mean norm

FIT_THINGS = ("film", "meal", "hotel", "song", "walk", "book", "phone", "class")
FIT_WORDS = (
    ("wonderful", "terrible"),
    ("great", "awful"),
    ("lovely", "horrible"),
    ("excellent", "dreadful"),
    ("delightful", "miserable"),
    ("superb", "disgusting"),
    ("brilliant", "pathetic"),
    ("perfect", "useless"),
)
PROBE_THINGS = ("garden", "train", "coffee", "team", "concert", "house", "game", "trip", "teacher", "dinner")
PROBE_WORDS = (
    ("beautiful", "ugly"),
    ("pleasant", "unpleasant"),
    ("charming", "boring"),
    ("fantastic", "nasty"),
    ("enjoyable", "painful"),
    ("impressive", "disappointing"),
)
PROMPTS = (
    "I went to the new restaurant and",
    "My neighbour told me that",
    "When I opened the letter,",
    "The meeting this morning was",
    "After the long journey we felt",
    "The weather this week has been",
    "My first day at the job was",
    "She looked at the painting and",
    "Our visit to the museum was",
    "The customer service of this shop is",
    "I watched the match and",
    "The review of the play said it was",
    "The bus arrived and the passengers were",
    "He opened the box and found",
    "The new manager of our office is",
    "We stayed in a small cabin that was",
    "The doctor came in and said that",
    "Last night the band played and",
    "The soup that my brother cooked was",
    "Everybody in the village talked about",
    "The garden behind the house",
    "I bought these shoes last month and",
    "The students said that the lecture was",
    "At the end of the year we",
)
ENDINGS = (
    ("The children came home and they were", " happy and smiling.", " sad and crying."),
    ("In the end, everybody thought that the party was", " a great success.", " a complete failure."),
    ("He tasted the soup and said that it was", " delicious.", " revolting."),
    ("She read the news and felt", " hopeful and glad.", " angry and afraid."),
    ("The staff at the station were", " kind and helpful.", " rude and unhelpful."),
    ("Looking back, the holiday was", " the best of my life.", " the worst of my life."),
)
PROSE = (
    "The river rises in the hills to the north of the town and flows south for forty kilometres before it "
    "reaches the sea. Its valley was settled in the ninth century, and the first bridge was built of wood. A "
    "stone bridge with seven arches replaced it in 1432.",
    "The species is found in dry grassland from sea level to about 1,200 metres. The adult is dark brown "
    "with two pale bands across the wing, and flies from May to August. The larvae feed on many grasses.",
    "The company was founded in 1911 as a maker of agricultural machines. During the following decade it "
    "opened factories in three cities, and by 1930 it employed more than two thousand people.",
)


def contrastive_vector(lm: sl.Model) -> tuple[torch.Tensor, float]:
    """The difference of means of 64 pairs at the last token, and the mean norm of the stream there."""
    sides = [
        [f"The {thing} was {pair[side]}" for thing in FIT_THINGS for pair in FIT_WORDS] for side in (0, 1)
    ]
    site = f"blocks.{BLOCK}.resid"
    good, bad = (lm.capture(texts, at=site, tokens="last")[site][:, 0] for texts in sides)
    return good.mean(0) - bad.mean(0), float(torch.cat([good, bad]).norm(dim=-1).mean())


def fit_probe(lm: sl.Model) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Weights, bias and held-out accuracy of a logistic probe on other words at another block."""
    texts = [f"The {thing} is {word}" for thing in PROBE_THINGS for pair in PROBE_WORDS for word in pair]
    labels = torch.tensor([1.0, 0.0]).repeat(len(texts) // 2)
    states = _mean_state(lm, texts)
    held_out = torch.arange(len(texts)) // (2 * len(PROBE_WORDS)) >= len(PROBE_THINGS) - 3
    centre, spread = states[~held_out].mean(0), states[~held_out].std(0) + 1e-4
    x = (states - centre) / spread
    weight = torch.zeros(x.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=200)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        scores = x[~held_out] @ weight + bias
        value = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels[~held_out])
        value = value + 0.01 * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    weight, bias = (weight / spread).detach(), (bias - (centre / spread) @ weight).detach()
    right = ((states @ weight + bias > 0).float() == labels)[held_out].float().mean()
    return weight, bias, float(right)


def _mean_state(lm: sl.Model, texts: list[str]) -> torch.Tensor:
    """The mean over a text's tokens at the probe's block, ``[text, dim]``."""
    site = f"blocks.{PROBE_BLOCK}.resid"
    acts = lm.capture(texts, at=site)
    real = acts.map_of(site).select("all")[..., None]
    return (acts[site] * real).sum(1) / real.sum(1)


def log_likelihood(lm: sl.Model, text: str, ending: str) -> float:
    """Log-likelihood of an ending, summed over its tokens."""
    ids = lm.processor(text + ending, return_tensors="pt").input_ids
    begin = len(lm.processor(text).input_ids)
    chances = lm.logits({"input_ids": ids})[0, :-1].log_softmax(-1)
    return float(chances.gather(1, ids[0, 1:, None])[begin - 1 :].sum())


def measure(
    lm: sl.Model, vector: torch.Tensor | None, probe: tuple[torch.Tensor, torch.Tensor]
) -> dict[str, float]:
    """What the scorers say while a vector is added at every token."""
    edit = None if vector is None else {f"blocks.{BLOCK}.resid": sl.Add(vector)}
    texts = lm.generate(list(PROMPTS), edit=edit, max_new_tokens=24).texts
    tone = _mean_state(lm, [text or " " for text in texts]) @ probe[0] + probe[1]  # nothing is attached here

    with nullcontext() if edit is None else lm.edit(edit):
        gaps = [log_likelihood(lm, text, a) - log_likelihood(lm, text, b) for text, a, b in ENDINGS]
        prose = sum(log_likelihood(lm, *_after_one_token(lm, text)) for text in PROSE)
    predicted = sum(len(lm.processor(text).input_ids) - 1 for text in PROSE)
    gap, perplexity = sum(gaps) / len(gaps), math.exp(-prose / predicted)
    return {"probe": float(tone.mean()), "endings": gap, "perplexity": perplexity}


def _after_one_token(lm: sl.Model, text: str) -> tuple[str, str]:
    """A text cut behind its first token, which nothing predicts."""
    ids = lm.processor(text).input_ids
    return lm.processor.decode(ids[:1]), lm.processor.decode(ids[1:])


def run(strengths: tuple[float, ...] = STRENGTHS, controls: int = 2) -> dict:
    """Fit, steer over strengths, and measure beside random directions of the same length."""
    lm = sl.load(MODEL)
    vector, norm = contrastive_vector(lm)
    unit = vector / vector.norm() * norm
    weight, bias, accuracy = fit_probe(lm)
    rows = []
    for strength in strengths:
        rows.append(
            {"direction": "contrastive", "strength": strength}
            | measure(lm, unit * strength if strength else None, (weight, bias))
        )
    for seed in range(controls):
        noise = torch.randn(unit.shape, generator=torch.Generator().manual_seed(seed))
        noise = noise / noise.norm() * norm
        for strength in (min(strengths), max(strengths)):
            row = {"direction": f"random {seed}", "strength": strength}
            rows.append(row | measure(lm, noise * strength, (weight, bias)))
    return {"probe_accuracy": accuracy, "norm": norm, "rows": rows}


def main() -> None:
    """Run, print a table, keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/positive_tone"))
    out = parser.parse_args().out
    result = run()
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(result, indent=1))
    print(f"probe at block {PROBE_BLOCK}: held-out accuracy {result['probe_accuracy']:.2f}")
    print(f"{'direction':12} {'strength':>8} {'probe':>8} {'endings':>8} {'perplexity':>10}")
    for row in result["rows"]:
        print("{direction:12} {strength:8.2f} {probe:8.2f} {endings:8.2f} {perplexity:10.2f}".format(**row))


if __name__ == "__main__":
    main()
