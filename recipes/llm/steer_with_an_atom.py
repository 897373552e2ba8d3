"""Steer what SmolLM2 writes about with one atom of a sparse dictionary, and take the atom away again.

For each topic one atom is chosen by a rule: the atom whose mean code tells sentences of the topic best from
the others, on sentences that serve for nothing else. Judges that never saw it: a linear probe at another
block, fitted on other sentences, reads what was written with nothing attached; and the likelihood of endings
about the topic against endings about other things. Adding the atom should raise both, more the more is added;
taking its code away, in sentences of the topic, should lower the second. Beside it stand random atoms: added
with the same length, or taken away where they write about as much.

What came out: for all four topics both judges rise at each of three strengths, the likelihood by 1.1 to 1.9 a
token, with random atoms by 0.04 on average and 0.57 at most; taking the atom away costs 0.47 (music), 0.40
(food), 0.12 (space) and 0.04 (medicine), random ones 0.01 on average and 0.09 at most. For another model
change MODEL, DICTIONARY and PROBE_BLOCK.
"""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from pathlib import Path

import torch

import steerlab as sl

MODEL, DICTIONARY, PROBE_BLOCK = "zoo:smollm2", "zoo:smollm2/blocks.15.resid", 22
STRENGTHS = (0.1, 0.2, 0.3)  # in units of the stream's mean norm
CONTROLS, NEW_TOKENS, INPUTS = 3, 20, 4

# of each topic: eight sentences to choose the atom by, eight for the probe, six endings
SENTENCES = {
    "food": (
        "She stirred the soup and added a pinch of salt.",
        "Bake the bread in a hot oven until the crust is brown.",
        "The cook chopped the onions and fried them in butter.",
        "We ordered pasta with tomato sauce and grated cheese.",
        "The cake was filled with cream and fresh strawberries.",
        "Mix the flour with two eggs and a cup of milk.",
        "He grilled the chicken with garlic and lemon.",
        "For breakfast they had pancakes with honey.",
        "The recipe asks for sugar, vanilla and soft butter.",
        "Boil the potatoes and mash them with a fork.",
        "Her grandmother makes the best apple pie in town.",
        "The chef tasted the sauce and reached for the pepper.",
        "They shared a plate of rice, beans and roasted pork.",
        "Slice the carrots and let them simmer in the broth.",
        "The restaurant serves fried fish with a green salad.",
        "Melt the chocolate and pour it over the biscuits.",
    ),
    "space": (
        "The astronauts looked down at the Earth from the station.",
        "A telescope showed the rings of the distant planet.",
        "The rocket left the atmosphere and entered orbit.",
        "Stars are born in clouds of gas inside the galaxy.",
        "The probe sent back pictures of the surface of Mars.",
        "Astronomers measured the light of an exploding star.",
        "The Moon moves around our planet in a month.",
        "A comet with a long tail crossed the solar system.",
        "The spacecraft landed on an asteroid far from the Sun.",
        "Black holes bend the light of the stars behind them.",
        "The crew floated in the capsule on its way to the Moon.",
        "Jupiter is the largest planet of the solar system.",
        "The satellite circles the Earth every ninety minutes.",
        "They discovered a new planet around a nearby star.",
        "The galaxy contains billions of stars and their planets.",
        "The launch of the rocket was delayed by a technical fault.",
    ),
    "music": (
        "The pianist played a slow melody in a minor key.",
        "The band recorded its first album in a small studio.",
        "She tuned her guitar and began to sing.",
        "The orchestra performed a symphony by Mozart.",
        "The drummer kept the rhythm while the bass came in.",
        "He practised the violin for three hours a day.",
        "The choir sang an old song in four voices.",
        "The concert ended with a long solo on the trumpet.",
        "Her new song reached the top of the charts.",
        "The composer wrote the opera in only six weeks.",
        "They danced to jazz played by a live band.",
        "The singer forgot the words of the second verse.",
        "A quartet of strings played in the old hall.",
        "The chords of the chorus are easy to play on the guitar.",
        "The audience clapped along with the beat of the drums.",
        "He learned to read notes and play the flute at school.",
    ),
    "medicine": (
        "The doctor examined the patient and prescribed a drug.",
        "The nurse measured his blood pressure and temperature.",
        "The surgeon removed the tumour in a long operation.",
        "Symptoms of the disease are fever and a dry cough.",
        "The vaccine protects children against the virus.",
        "She was taken to the hospital with a broken leg.",
        "The infection was treated with antibiotics.",
        "Patients with diabetes must watch their blood sugar.",
        "The dentist found a hole in the tooth and filled it.",
        "A scan of the brain showed no sign of a stroke.",
        "The clinic treats people with heart disease.",
        "He took two tablets against the pain in his back.",
        "The illness spreads through infected water.",
        "The ambulance brought the injured man to the emergency room.",
        "Doctors recommend the therapy for chronic asthma.",
        "The patient recovered quickly after the surgery.",
    ),
}
ENDINGS = {
    "food": (
        " cook a delicious meal.",
        " bake a chocolate cake.",
        " eat some bread and cheese.",
        " make a pot of soup.",
        " fry the eggs in butter.",
        " taste the tomato sauce.",
    ),
    "space": (
        " fly to the Moon.",
        " study the stars and planets.",
        " launch a rocket into orbit.",
        " look at Mars through a telescope.",
        " explore the solar system.",
        " travel to another galaxy.",
    ),
    "music": (
        " play the piano.",
        " sing a new song.",
        " listen to the band.",
        " practise the guitar.",
        " record an album.",
        " conduct the orchestra.",
    ),
    "medicine": (
        " see a doctor.",
        " take the medicine.",
        " treat the patients.",
        " go to the hospital.",
        " cure the disease.",
        " vaccinate the children.",
    ),
}
CONTEXTS = ("Tomorrow they want to", "In the evening we decided to", "He told me that he would like to")
AFTER = " After that, they decided to"  # after a sentence of the topic, before an ending
WHO = ("My neighbour", "The old man", "Her brother", "A friend of mine", "The visitor")
DOING = (
    "told me about",
    "was thinking about",
    "spent the whole day on",
    "wrote a letter about",
    "could not stop talking about",
    "wanted to know more about",
    "made a plan for",
    "was surprised by",
    "asked a question about",
    "remembered",
)
PROMPTS = tuple(f"{who} {doing}" for who in WHO for doing in DOING)
TOPICS = tuple(SENTENCES)


def half(of: int) -> tuple[list[str], torch.Tensor]:
    """The first or second eight sentences of every topic, and their topics ``[sentence]``."""
    texts = [text for some in SENTENCES.values() for text in some[8 * of : 8 * of + 8]]
    return texts, torch.arange(len(TOPICS)).repeat_interleave(8)


def means(values: torch.Tensor, acts: sl.Activations, site: str) -> torch.Tensor:
    """Means over the tokens of each text but the first: ``[text, ...]`` from ``[text, token, ...]``."""
    tokens = acts.map_of(site)
    real = (tokens.select("all") & ~tokens.select("first")).to(values)[..., None]
    return (values * real).sum(1) / real.sum(1).clamp_min(1)


def choose_atoms(codes: torch.Tensor, topics: torch.Tensor) -> list[int]:
    """The atom of each topic: the largest difference of means over the deviation, of codes [text, atom]."""
    chosen = []
    for topic in range(len(TOPICS)):
        ours, others = codes[topics == topic], codes[topics != topic]
        spread = (0.5 * (ours.var(0) + others.var(0))).sqrt() + 0.05 * codes.std(0).max()
        chosen.append(int(((ours.mean(0) - others.mean(0)) / spread).argmax()))
    return chosen


class Judges:
    """A probe of written text, and the likelihood of endings."""

    def __init__(self, lm: sl.Model) -> None:
        self.lm, self.site = lm, f"blocks.{PROBE_BLOCK}.resid"
        texts, topics = half(1)
        states = self._states(texts)
        self.centre, self.spread = states.mean(0), states.std(0) + 1e-3
        wanted = torch.nn.functional.one_hot(topics).float()
        x = (states - self.centre) / self.spread
        # ridge regression in its dual form: fewer sentences than dimensions
        gram = x @ x.T + 10 * torch.eye(len(x))
        self.weights = x.T @ torch.linalg.solve(gram, wanted - wanted.mean(0))
        texts, topics = half(0)
        self.accuracy = float((self.topics(texts).argmax(1) == topics).float().mean())

    def _states(self, texts: list[str]) -> torch.Tensor:
        acts = self.lm.capture(texts, at=self.site)
        return means(acts[self.site], acts, self.site)

    def topics(self, texts: list[str]) -> torch.Tensor:
        """Scores ``[text, topic]``: about 0.75 for the topic of a text, -0.25 for the others."""
        return (self._states(texts) - self.centre) / self.spread @ self.weights

    def endings(self, contexts: list[str], topic: int, edit: dict | None) -> float:
        """Mean log-likelihood of a token in the topic's endings, less that in the other topics' endings."""
        with nullcontext() if edit is None else self.lm.edit(edit):
            found = [self._likelihoods(context) for context in contexts]
        values = torch.stack(found).mean(0)
        others = torch.cat([values[:topic], values[topic + 1 :]])
        return float(values[topic].mean() - others.mean())

    def _likelihoods(self, context: str) -> torch.Tensor:
        """Mean log-likelihood of a token of every ending, ``[topic, ending]``."""
        tokenizer = self.lm.processor
        endings = [ending for some in ENDINGS.values() for ending in some]
        rows = tokenizer([context + ending for ending in endings], return_tensors="pt", padding=True)
        ids, mask = rows["input_ids"], rows["attention_mask"].clone()
        begin = len(tokenizer(context).input_ids)
        chances = self.lm.logits(dict(rows))[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
        own = (mask.cumsum(1) > begin) & mask.bool()
        return ((chances * own[:, 1:]).sum(1) / own[:, 1:].sum(1)).view(len(TOPICS), -1)


def write(lm: sl.Model, edit: dict | None) -> list[str]:
    """What the model writes after the prompts."""
    texts = lm.generate(list(PROMPTS), edit=edit, max_new_tokens=NEW_TOKENS).texts
    return [text if text.strip() else "." for text in texts]


def run(topics: tuple[str, ...] = TOPICS, strengths: tuple[float, ...] = STRENGTHS) -> dict:
    """Choose atoms, add them, take them away, and measure; a row a topic."""
    lm, sae = sl.load(MODEL), sl.load_dictionary(DICTIONARY)
    site = str(sae.site)
    texts, labels = half(0)
    acts = lm.capture(texts, at=site)
    codes = means(sae.encode(acts[site]), acts, site)
    atoms, judges = choose_atoms(codes, labels), Judges(lm)
    generator = torch.Generator().manual_seed(0)
    alive = (~sae.stats.dead).nonzero()[:, 0]
    plain, rows = judges.topics(write(lm, None)), []
    for topic in map(TOPICS.index, topics):
        atom = atoms[topic]

        def added(one: int, strength: float, topic: int = topic) -> tuple[float, float]:
            edit = {site: sl.Add(sae[one], sae.strength(one, strength, unit="norm")).on(exclude="first")}
            written = judges.topics(write(lm, edit))[:, topic].mean()
            return float(written), judges.endings(list(CONTEXTS), topic, edit)

        row = {"topic": TOPICS[topic], "atom": atom}
        row["added 0"] = (float(plain[:, topic].mean()), judges.endings(list(CONTEXTS), topic, None))
        row |= {f"added {strength:g}": added(atom, strength) for strength in strengths}
        drawn = alive[torch.randperm(len(alive), generator=generator)[:CONTROLS]].tolist()
        row["random added"] = [added(one, strengths[-1]) for one in drawn]

        having = [text + AFTER for text in SENTENCES[TOPICS[topic]][8 : 8 + INPUTS]]

        def taken(one: int, topic: int = topic, having: list[str] = having) -> float:
            return judges.endings(having, topic, {site: sl.Zero(sae.only(one)).on(exclude="first")})

        acts = lm.capture(having, at=site)
        here = means(sae.encode(acts[site]), acts, site).mean(0)
        far = (here - here[atom]).abs()
        far[atom] = torch.inf
        near = far.argsort()[: 3 * CONTROLS]
        drawn = near[torch.randperm(len(near), generator=generator)[:CONTROLS]].tolist()
        row["code there"] = float(here[atom])
        row["kept"], row["taken away"] = judges.endings(having, topic, None), taken(atom)
        row["random taken away"] = [taken(one) for one in drawn]
        rows.append(row)
    return {"probe_accuracy": judges.accuracy, "rows": rows}


def main() -> None:
    """Run, print the rows, keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/steer_with_an_atom"))
    out = parser.parse_args().out
    result = run()
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(result, indent=1))
    print(f"probe at block {PROBE_BLOCK}: held-out accuracy {result['probe_accuracy']:.2f}")
    for row in result["rows"]:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
