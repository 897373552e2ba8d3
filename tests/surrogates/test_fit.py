"""Training: shared blocks learn a model's path, and a training that was killed ends with the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import steerlab as sl
from steerlab.rewiring import rewired
from steerlab.surrogates import Distilling, fit_surrogate
from steerlab.surrogates.scores import closed_loop
from steerlab.surrogates.teacher import paths

# the same training in a process that the operating system ends in the second stage, between two saves
KILLED = """
import os, signal, sys, torch, steerlab as sl
from steerlab.surrogates import Distilling, fit, fit_surrogate
torch.set_num_threads(1)
fit._SAVE_EVERY = 2
pixels = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
def batch(step):
    if step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return pixels[4 * (step % 6):][:4]
settings = Distilling(batch=4, steps=5, steps_together=5, lr=1e-3, warmup=2, layer_scale=0.1, hidden=64)
fit_surrogate(sl.load("zoo:shapes-vit"), batch, cuts=[3], settings=settings, folder=sys.argv[1])
"""


def test_a_killed_training_goes_on_and_ends_with_the_same_numbers(tmp_path, vit, monkeypatch):
    here = os.pathsep.join([str(Path(sl.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": here},
    )
    assert killed.returncode == -9, killed.stderr
    monkeypatch.setattr("steerlab.surrogates.fit._SAVE_EVERY", 2)
    pixels = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    settings = Distilling(batch=4, steps=5, steps_together=5, lr=1e-3, warmup=2, layer_scale=0.1, hidden=64)
    steps: dict[str, list[int]] = {"killed": [], "whole": []}
    made = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums round by how they are shared out
    for name in steps:

        def batch(step: int, name: str = name) -> torch.Tensor:
            steps[name].append(step)
            return pixels[4 * (step % 6) :][:4]

        made[name] = fit_surrogate(vit, batch, cuts=[3], settings=settings, folder=tmp_path / name).weights
    torch.set_num_threads(threads)
    assert steps == {"killed": [0, 7, 8, 9], "whole": [0, *range(10)]}  # the first tells whether it is causal
    assert all(torch.equal(made["whole"][n], made["killed"][n]) for n in made["whole"])


@pytest.fixture(scope="module")
def vit() -> sl.Model:
    return sl.load("zoo:shapes-vit")


@pytest.fixture(scope="module")
def pixels(vit) -> torch.Tensor:
    pictures = sl.inputs.Scenes(72).load(None)
    whole = vit.processor(pictures, return_tensors="pt")["pixel_values"]
    return torch.nn.functional.interpolate(whole, size=32, mode="area")


QUICK = Distilling(
    batch=8, steps=40, steps_together=30, lr=3e-3, warmup=5, layer_scale=0.1, relative=True, hidden=128
)


def test_shared_blocks_learn_the_path_and_stand_in_for_a_span(vit, pixels):
    before = torch.random.get_rng_state()
    made = fit_surrogate(vit, pixels[:48], cuts=[4], settings=QUICK)
    assert torch.equal(torch.random.get_rng_state(), before)
    held = [paths(vit, "blocks", (0, 6))(pixels[48:])]
    scores = closed_loop(made, held)
    assert set(scores.cosine) == {"cls", "registers", "patches"}
    for group, cosine in scores.cosine.items():
        assert float(cosine.mean()) > float(scores.still[group].mean()) + 0.2, group
    assert float(scores.r2.mean()) > 0.3
    # the loop is that of the model with the surrogate in place
    final = vit.capture(pixels[48:], at="final")["final"]
    with rewired(vit, made):
        there = vit.capture(pixels[48:], at="final")["final"]
    last = held[0].states[-1]
    ends = [
        torch.cosine_similarity(a, b, dim=-1).mean()
        for a, b in ((there, final), (made.run(held[0].states[0])[-1], last))
    ]
    assert float(ends[0]) > 0.5 and float(ends[1]) > 0.5


def test_a_span_in_the_middle_begins_with_the_teachers_state(vit, pixels):
    settings = Distilling(
        batch=8, steps=25, steps_together=5, lr=3e-3, warmup=3, layer_scale=0.1, span=(2, 5), hidden=64
    )
    made = fit_surrogate(vit, pixels[:24], cuts=[], settings=settings)
    assert made.span == (2, 5) and made.segments == [range(2, 5)]
    held = [paths(vit, "blocks", (2, 5))(pixels[48:])]
    found = closed_loop(made, held)
    assert float(found.cosine["patches"].mean()) > float(found.still["patches"].mean())


def test_scores_are_perfect_for_the_teacher_itself_and_those_of_the_formulas(vit, pixels):
    made = fit_surrogate(vit, pixels[:8], cuts=[3], settings=Distilling(batch=4, steps=1, steps_together=0))
    path = paths(vit, "blocks", (0, 6))(pixels[:8])
    states = torch.stack(made.run(path.states[0]))
    own = type(path)(torch.cat([path.states[:1], states]), path.groups)
    perfect = closed_loop(made, [own])
    assert torch.allclose(perfect.r2, torch.ones(6, dtype=perfect.r2.dtype), atol=1e-6)
    assert torch.allclose(perfect.cosine["cls"], torch.ones(6, dtype=torch.float64), atol=1e-5)
    two = closed_loop(
        made, [type(path)(path.states[:, :5], path.groups), type(path)(path.states[:, 5:], path.groups)]
    )
    whole = closed_loop(made, [path])
    assert torch.allclose(two.r2, whole.r2) and torch.allclose(two.cosine["patches"], whole.cosine["patches"])
    wanted, guess = path.states[3].flatten(0, 1).double(), states[2].flatten(0, 1).double()
    total = (wanted - wanted.mean(0)).square().sum()
    assert float(whole.r2[2]) == pytest.approx(float(1 - (wanted - guess).square().sum() / total), abs=1e-5)
    theirs = (guess - guess.mean()).square().sum()
    assert float(whole.r2_authors[2]) == pytest.approx(
        float(1 - (wanted - guess).square().sum() / theirs), rel=1e-4
    )


def test_a_folder_of_another_training_and_cuts_outside_are_refused(vit, pixels, tmp_path):
    few = Distilling(batch=2, steps=1, steps_together=0, hidden=8)
    fit_surrogate(vit, pixels[:4], cuts=[3], settings=few, folder=tmp_path)
    with pytest.raises(sl.SteerlabError, match=r"another training \(cuts \[3\] there, \[2\] here\)"):
        fit_surrogate(vit, pixels[:4], cuts=[2], settings=few, folder=tmp_path)
    (tmp_path / "surrogate.safetensors").write_bytes(b"half")
    with pytest.raises(sl.SteerlabError, match="delete it to begin anew"):
        fit_surrogate(vit, pixels[:4], cuts=[3], settings=few, folder=tmp_path)
    with pytest.raises(sl.SteerlabError, match="do not rise"):
        fit_surrogate(vit, pixels[:4], cuts=[6], settings=few)
    with pytest.raises(sl.SteerlabError, match="has 6 blocks"):
        fit_surrogate(vit, pixels[:4], cuts=[], settings=Distilling(span=(2, 9)))
    with pytest.raises(sl.SteerlabError, match="no inputs"):
        fit_surrogate(vit, pixels[:0], cuts=[], settings=few)


def test_blocks_of_a_language_model_are_replaced_by_causal_ones_and_padding_is_not_learnt(vit, pixels):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    llama = sl.wrap(LlamaForCausalLM(LlamaConfig(vocab_size=11, **sizes)).eval())
    ids = torch.randint(11, (8, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(8, 6, dtype=torch.long)
    mask[:, 4:] = 0

    def batch(step: int) -> dict[str, torch.Tensor]:
        return {"input_ids": ids, "attention_mask": mask}

    few = Distilling(steps=2, steps_together=1, hidden=8)
    made = fit_surrogate(llama, batch, cuts=[2], settings=few)
    other = ids.clone()
    other[:, 4:] = 3  # what stands under the padding changes nothing
    again = fit_surrogate(llama, lambda step: batch(step) | {"input_ids": other}, cuts=[2], settings=few)
    assert made.sizes.causal and made.segments == [range(2), range(2, 3)]
    assert all(torch.allclose(made.weights[n], again.weights[n]) for n in made.weights)
    with rewired(llama, made):
        out = llama.module(input_ids=ids).logits
        short = llama.module(input_ids=ids[:, :3]).logits
    assert torch.allclose(out[:, :3], short, atol=1e-5)
    assert not fit_surrogate(vit, pixels[:2], cuts=[], settings=few).sizes.causal
