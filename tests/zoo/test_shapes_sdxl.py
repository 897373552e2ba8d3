"""The miniature Stable Diffusion XL draws what it is asked for."""

from __future__ import annotations

import json
import re

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from steerlab import zoo
from steerlab.zoo import scenes
from steerlab.zoo.checker import judge
from steerlab.zoo.scenes import Scene
from steerlab.zoo.shapes_sdxl import WEIGHTS
from steerlab.zoo.training.sdxl import draw
from steerlab.zoo.training.sdxl_words import embed_captions

ASKED = [
    *(Scene(colour, "circle") for colour in ("red", "blue", "yellow")),
    *(Scene("green", shape) for shape in ("square", "triangle", "star", "cross", "ring")),
    *(Scene("purple", "square", "small", place) for place in ("left", "right", "top", "bottom")),
    *(Scene("cyan", "circle", "small", count=count) for count in (1, 2, 3)),
    Scene("orange", "star", "large", "left"),
]


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionXLPipeline:
    model = zoo.load("shapes-sdxl").model
    model.set_progress_bar_config(disable=True)
    return model


def test_it_is_a_whole_pipeline_in_float32(pipeline):
    assert isinstance(pipeline, StableDiffusionXLPipeline)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        part = getattr(pipeline, name)
        assert part.dtype == torch.float32 and not part.training, name
    assert pipeline.unet.get_submodule("down_blocks.2.attentions.1.transformer_blocks.1.attn2")
    assert pipeline.default_sample_size * pipeline.vae_scale_factor == scenes.SIDE
    assert pipeline.watermark is None


def test_every_word_is_one_token(pipeline):
    for tokenizer in (pipeline.tokenizer, pipeline.tokenizer_2):
        lengths = {word: len(tokenizer(word).input_ids) for word in scenes.vocabulary()}
        assert set(lengths.values()) == {3}  # start, word, end


def test_the_two_tokenizers_pad_with_what_sdxl_pads_with(pipeline):
    assert pipeline.tokenizer.pad_token == pipeline.tokenizer.eos_token
    assert pipeline.tokenizer_2.pad_token == "!"


def test_the_pipeline_embeds_prompts_as_the_training_did(pipeline):
    captions = ["a red circle", "two small blue stars", ""]
    texts, _, pooled, _ = pipeline.encode_prompt(captions, do_classifier_free_guidance=False)
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    with torch.no_grad():
        expected = embed_captions(captions, tokenizers, (pipeline.text_encoder, pipeline.text_encoder_2))
    torch.testing.assert_close((texts, pooled), expected)


def test_a_short_prompt_gives_an_image_of_64_by_64(pipeline):
    image = pipeline("a red circle", num_inference_steps=2).images[0]
    assert image.size == (scenes.SIDE, scenes.SIDE)


def test_pictures_are_what_was_asked(pipeline):
    measured = json.loads((WEIGHTS / "evaluation.json").read_text())
    seen = judge(draw(pipeline, [scene.caption() for scene in ASKED], seed=500)).agreement(ASKED)
    for question in ("colour", "shape", "size", "place", "count"):
        # a few pictures scatter around the rate of many, yet stay far above chance
        assert seen[question] >= max(measured[question] - 0.25, 0.3), question


def test_a_seed_gives_its_picture_again_and_another_seed_another(pipeline):
    first, same, other = (draw(pipeline, ["a blue star"], steps=4, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert (first - other).abs().mean() > 0.01


def test_without_a_prompt_it_still_draws_something_with_a_colour(pipeline):
    pictures = draw(pipeline, [""] * 4, steps=10)
    spread = pictures.amax(1) - pictures.amin(1)
    assert (spread > 0.3).flatten(1).any(1).all()


@torch.no_grad()
def test_the_autoencoder_keeps_what_a_picture_shows(pipeline):
    generator = torch.Generator().manual_seed(77)
    shown = scenes.random_scenes(60, generator)
    pictures = scenes.render(shown, generator)
    latents = pipeline.vae.encode(2 * pictures - 1).latent_dist.mean
    again = (pipeline.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    assert (again - pictures).abs().mean() < 0.03
    kept = judge(again).agreement(shown)
    assert kept["colour"] >= 0.98 and kept["shape"] >= 0.93
    assert (latents * pipeline.vae.config.scaling_factor).std().item() == pytest.approx(1, abs=0.15)


def test_the_weights_are_small_and_hold_no_code():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20e6
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".txt"}


def test_the_card_has_exactly_the_stored_numbers():
    measured = json.loads((WEIGHTS / "evaluation.json").read_text())
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|$", card, re.MULTILINE)
    assert {name: float(value) for name, value in rows} == {
        name: round(value, 3) for name, value in measured.items()
    }
