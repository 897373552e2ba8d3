"""Law 11: one intervention has one effect, on whatever path the model is called."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import oracles
import pytest
import tiny
import torch
import transformers

import steerlab as sl

VECTOR = torch.linspace(-3, 3, 32)


def added(x: torch.Tensor) -> torch.Tensor:
    return (x.to(torch.promote_types(x.dtype, torch.float32)) + VECTOR).to(x.dtype)


def without_head_2(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x[:, :, :2], 0 * x[:, :, 2:3], x[:, :, 3:]], dim=2)


def ring(width: int) -> sl.Manifold:
    """Six values on a ring in the first two dimensions, closed by its angle."""
    turn = torch.arange(6, dtype=torch.float64)[:, None] * torch.pi / 3
    places = torch.zeros(6, width, dtype=torch.float64)
    places[:, :2] = 2 * torch.cat([turn.cos(), turn.sin()], 1)
    frame = torch.eye(2, width, dtype=torch.float64)
    return sl.Manifold(torch.zeros(width), frame, places, turn, (2 * torch.pi,))


TURNED = sl.Move(ring(32), 2.0)

# what is done: the intervention, and the site and function of a bare hook that does the same
WORK = {
    "add to the stream": ({"blocks.1.resid": sl.Add(VECTOR)}, "blocks.1.resid", added),
    "add to what the MLP adds": ({"blocks.1.mlp": sl.Add(VECTOR.view(1, 1, -1))}, "blocks.1.mlp", added),
    "silence a head": ({"blocks.1.heads.2": sl.Zero()}, "blocks.1.heads", without_head_2),
    "move along a ring": ({"blocks.1.resid": TURNED}, "blocks.1.resid", TURNED),
}
CONTEXTS = {
    "plain": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}
TEXTS = ["the red cat sat on", "Monday comes before Tuesday and the week"]


@contextmanager
def by_hand(made: tiny.Tiny, site: str, fn, batch: int = 2) -> Iterator[None]:
    with oracles.hooked(made, made.model, oracles.points(made)[site], fn, batch):
        yield


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "dinov2", "timm_vit"])
def test_a_call_of_the_model(family, work, context, held):
    one, (intervention, site, fn) = held(family), WORK[work]
    with CONTEXTS[context]():
        bare = oracles.main(one.tiny.model(**one.tiny.inputs))
        with one.model.edit(intervention):
            edited = oracles.main(one.tiny.model(**one.tiny.inputs))
        with by_hand(one.tiny, site, fn):
            truth = oracles.main(one.tiny.model(**one.tiny.inputs))
    assert torch.equal(edited, truth)
    assert edited.dtype == bare.dtype and not torch.equal(edited, bare)


def generated(made: tiny.Tiny, cache: bool) -> torch.Tensor:
    settings = {"max_new_tokens": 8, "do_sample": False, "use_cache": cache, "eos_token_id": None}
    return made.model.generate(**made.padded, **settings, pad_token_id=tiny.PAD)


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_generation_of_a_batch_with_padding_on_the_left(family, work, cache, held):
    one, (intervention, site, fn) = held(family), WORK[work]
    with one.model.edit(intervention) as receipt:
        edited = generated(one.tiny, cache)
    with by_hand(one.tiny, site, fn):
        truth = generated(one.tiny, cache)
    assert torch.equal(edited, truth)
    assert not torch.equal(edited, generated(one.tiny, cache)) or work == "silence a head"
    assert next(iter(receipt)).fires == 8


@pytest.mark.parametrize("work", WORK)
def test_generation_in_a_pipeline_of_transformers(work):
    made, (intervention, site, fn) = tiny.tiny("llama"), WORK[work]
    pipe = transformers.pipeline("text-generation", model=made.model, tokenizer=made.tokenizer)
    model = sl.wrap(made.model, made.tokenizer)
    config = transformers.GenerationConfig(max_new_tokens=6, do_sample=False, pad_token_id=tiny.PAD)

    def texts() -> list[str]:
        return [out[0]["generated_text"] for out in pipe(TEXTS, batch_size=2, generation_config=config)]

    with model.edit(intervention):
        edited = texts()
    with by_hand(made, site, fn):
        truth = texts()
    assert edited == truth
    assert edited != texts() or work == "silence a head"


@pytest.mark.parametrize("work", WORK)
def test_features_in_a_pipeline_of_transformers(work):
    made, (intervention, site, fn) = tiny.tiny("llama"), WORK[work]
    pipe = transformers.pipeline("feature-extraction", model=made.model, tokenizer=made.tokenizer)

    def features() -> torch.Tensor:
        return pipe(TEXTS[0], return_tensors=True)

    with sl.wrap(made.model).edit(intervention):
        edited = features()
    with by_hand(made, site, fn):
        truth = features()
    assert torch.equal(edited, truth) and not torch.equal(edited, features())


LATENTS = {
    "sd": "unet.down.1.0.update",
    "sdxl": "unet.down.2.0.update",
    "pixart": "transformer.blocks.1.resid",
}


@pytest.mark.parametrize("family", LATENTS)
def test_images_of_a_pipeline_of_diffusers(family, held):
    one, site = held(family), LATENTS[family]
    with one.model.edit({site: sl.Add(VECTOR)}) as receipt:
        edited = oracles.bare(one.tiny)
    truth = oracles.write(one.tiny, site, added)
    assert torch.allclose(edited, truth, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(edited, oracles.bare(one.tiny), atol=1e-2)
    assert receipt[site].fires == 3 and receipt[site].rows == 4


def double(family: str) -> tuple[tiny.Tiny, sl.Model]:
    """A tiny model in float64, which is what finite differences need, with parameters to train."""
    made = tiny.tiny(family)
    made.model.double().requires_grad_(True)
    return made, sl.wrap(made.model)


def loss_of(made: tiny.Tiny) -> torch.Tensor:
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in made.inputs.items()}
    return oracles.main(made.model(**inputs)).square().mean()


EDITS = {
    "Add": lambda v: sl.Add(v, 2.0),
    "Add to a token": lambda v: sl.Add(v).on(tokens=[1]),
    "half an Add": lambda v: sl.Add(v).on(strength=0.5),
    "Replace": lambda v: sl.Replace(v).on(rows=[1]),
    "Fn": lambda v: sl.Fn(lambda x: x * v + v),
    "Move": lambda v: sl.Move(ring(len(v)), v[:1]),
    "Toward": lambda v: sl.Toward(ring(len(v)), v[:1], 1.2),
}


@pytest.mark.parametrize("site", ["blocks.1.resid", "blocks.1.resid_mid", "blocks.0.heads.1", "blocks.1.v.1"])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("family", ["gpt2", "dinov2"])  # llama's norms round to float32
def test_the_gradient_of_an_edit_is_the_slope_of_the_loss(family, edit, site):
    made, model = double(family)
    width = 8 if ".heads" in site or ".v" in site else 32
    vector = torch.linspace(-1, 1, width, dtype=torch.float64, requires_grad=True)
    with model.edit({site: EDITS[edit](vector)}):
        loss_of(made).backward()
    direction = torch.cos(torch.arange(width, dtype=torch.float64))
    losses = []
    for step in (1e-5, -1e-5):
        moved = (vector + step * direction).detach()
        with model.edit({site: EDITS[edit](moved)}), torch.no_grad():
            losses.append(loss_of(made))
    slope = (losses[0] - losses[1]) / 2e-5
    assert slope.abs() > 1e-6
    assert torch.allclose(vector.grad @ direction, slope, rtol=1e-5)


@pytest.mark.parametrize("stream", ["scores", "pattern"])
@pytest.mark.parametrize("family", ["gpt2", "dinov2", "timm_vit"])
def test_an_edit_of_attention_that_starts_as_the_identity_has_a_gradient(family, stream):
    made, model = double(family)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    ramp = torch.cos(torch.arange(made.inputs.get("input_ids", torch.zeros(1, 17)).shape[1]).double())

    def loss(amount: torch.Tensor) -> torch.Tensor:
        with model.edit({f"blocks.1.{stream}": sl.Fn(lambda x: x + amount * ramp)}, strict=False):
            return loss_of(made)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sl.SteerlabWarning)
        loss(shift).backward()
    with torch.no_grad():
        slope = (loss(torch.tensor(1e-5).double()) - loss(torch.tensor(-1e-5).double())) / 2e-5
    assert slope.abs() > 1e-6 and torch.allclose(shift.grad, slope, rtol=1e-4)


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("family", ["gpt2", "dinov2"])
def test_a_training_step_of_the_weights(family, work):
    intervention, site, fn = WORK[work]
    trained = []
    for engine in ("steerlab", "by hand", "bare"):
        made, model = double(family)
        optimizer = torch.optim.SGD(made.model.parameters(), lr=0.1)
        contexts = {
            "steerlab": lambda m=model: m.edit(intervention),
            "by hand": lambda one=made: by_hand(one, site, fn),
            "bare": nullcontext,
        }
        with contexts[engine]():
            loss_of(made).backward()
        optimizer.step()
        trained.append(torch.cat([p.detach().flatten() for p in made.model.parameters()]))
    edited, truth, bare = trained
    assert torch.allclose(edited, truth, atol=1e-12) and not torch.allclose(edited, bare, atol=1e-6)


def test_a_vector_is_trained_while_its_edit_stays_on():
    made, model = double("gpt2")
    vector = torch.zeros(32, dtype=torch.float64, requires_grad=True)
    optimizer, losses = torch.optim.SGD([vector], lr=0.5), []
    with model.edit({"blocks.1.resid": sl.Add(vector)}):
        for _ in range(3):
            optimizer.zero_grad()
            losses.append(loss_of(made))
            losses[-1].backward()
            optimizer.step()
    with by_hand(made, "blocks.1.resid", lambda x: x + vector.detach()):
        last = loss_of(made)
    with model.edit({"blocks.1.resid": sl.Add(vector)}):
        assert torch.allclose(loss_of(made), last)
    assert losses[0] > losses[1] > losses[2] > last


def test_what_is_read_in_a_training_step_carries_its_gradient(held):
    one = held("llama")
    vector = torch.full((32,), 0.1, requires_grad=True)
    with one.model.edit({"blocks.0.resid": sl.Add(vector)}), one.model.read("blocks.2.heads.1") as reading:
        one.tiny.model(**one.tiny.inputs)
    reading.activations()["blocks.2.heads.1"].square().sum().backward()
    assert vector.grad.abs().max() > 1e-4
