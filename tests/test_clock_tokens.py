"""Tokens mean the same everywhere: in every family, under padding, with a cache, in chunks, in videos."""

from __future__ import annotations

import oracles
import pytest
import tiny
import torch

import steerlab as sl

CLS, REGISTERS = {"cls": (0, 1)}, {"cls": (0, 1), "registers": (1, 4)}
SQUARE = {**CLS, "patches": (1, 17)}, (4, 4)
BARE = {"patches": (0, 16)}, (4, 4)
TEXT = {}, None
UNEVEN = {"patches": (0, 16)}, None  # the images of a batch have grids of different shape
LATENT = {"patches": (0, 256)}, (16, 16)
# family: site: named groups and grid of its tokens
MAPS = {family: {"blocks.1.resid": TEXT} for family in [*tiny.LLMS, "clip_text"]} | {
    "vit": {"blocks.1.resid": SQUARE},
    "deit": {"blocks.1.resid": ({**CLS, "distillation": (1, 2), "patches": (2, 18)}, (4, 4))},
    "dinov2": {"blocks.1.resid": SQUARE},
    "dinov2_saliency": {"blocks.1.resid": SQUARE},
    "dinov2_with_registers": {"blocks.1.resid": ({**REGISTERS, "patches": (4, 20)}, (4, 4))},
    "dinov3_vit": {"blocks.1.resid": ({**REGISTERS, "patches": (4, 20)}, (4, 4))},
    "vit_mae": {"blocks.1.resid": ({**CLS, "patches": (1, 9)}, None)},
    "siglip_vision": {"blocks.1.resid": BARE},
    "siglip2_vision": {"blocks.1.resid": UNEVEN},
    "clip_vision": {"blocks.1.resid": SQUARE},
    "timm_vit": {"blocks.1.resid": SQUARE},
    "clip": {"vision.blocks.1.resid": SQUARE, "text.blocks.1.resid": TEXT},
    "siglip": {"vision.blocks.1.resid": BARE, "text.blocks.1.resid": TEXT},
    "siglip2": {"vision.blocks.1.resid": UNEVEN, "text.blocks.1.resid": TEXT},
    "videomae": {"blocks.1.resid": ({"patches": (0, 32)}, (2, 4, 4))},
    "vjepa2": {"blocks.1.resid": ({"patches": (0, 8)}, (2, 2, 2))},
    "timesformer": {"blocks.1.resid": ({**CLS, "patches": (1, 13)}, (3, 2, 2))},
    "sd": {"unet.latent": LATENT, "text_encoder.blocks.1.resid": TEXT},
    "sdxl": {"unet.latent": LATENT, "text_encoder_2.blocks.1.resid": TEXT},
    "pixart": {"transformer.embed": ({"patches": (0, 64)}, (8, 8))},
}
# families whose input is pixels, and edges of a patch and of a tube
PIXELS = {
    family: 1 for family, maps in MAPS.items() for _, grid in maps.values() if grid and grid != (16, 16)
}
PIXELS |= {"videomae": 2, "vjepa2": 2, "timesformer": 1}
del PIXELS["pixart"]
VIDEOS = [family for family in PIXELS if family in tiny.VIDEO]


def test_every_family_with_tokens_has_its_map_written_down_here():
    assert set(MAPS) == set(sl.families.FAMILIES) - {"plain"}


@pytest.mark.parametrize("family", MAPS)
def test_the_token_map_of_a_family_names_its_groups_and_its_grid(family, held):
    one = held(family)
    acts = one.model.capture(one.tiny.inputs, at=list(MAPS[family]))
    for site, (groups, grid) in MAPS[family].items():
        tokens, axis = acts.map_of(site), acts.axes[sl.Site.parse(site)].index("token")
        assert dict(tokens.groups) == groups and tokens.grid == grid, site
        assert tokens.count == acts[site].shape[axis], site
        assert (tokens.ids is not None) == (not groups), site


@pytest.mark.parametrize("family", PIXELS)
def test_a_place_of_the_grid_is_the_token_that_its_pixels_became(family, held):
    one = held(family)
    site = next(iter(MAPS[family])).replace("blocks.1.resid", "embed")
    name = next(name for name in one.tiny.inputs if name.startswith("pixel") or name == "x")
    acts = one.model.capture(one.tiny.inputs, at=site)
    tokens = acts.map_of(site)
    for frame in range(tokens.grid[0] if family in VIDEOS else 1):
        for row, column in ((0, 0), (0, 1), (1, 0), (tokens.grid[-2] - 1, tokens.grid[-1] - 1)):
            changed = one.tiny.inputs[name].clone()
            spot = (..., slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
            clip = (
                changed[:, frame * PIXELS[family] : (frame + 1) * PIXELS[family]]
                if family in VIDEOS
                else changed
            )
            clip[spot] += 1
            other = one.model.capture({**one.tiny.inputs, name: changed}, at=site)
            moved = (other[site] != acts[site]).any(-1)
            frames = [frame] if family in VIDEOS else None
            assert torch.equal(moved, tokens.patches((row, column), frames).expand_as(moved)), (
                frame,
                row,
                column,
            )


# family: (scope, tokens of both rows that it edits, counted by hand)
PLACES = [
    ("dinov2_with_registers", {"tokens": "registers"}, [1, 2, 3]),
    ("dinov2_with_registers", {"tokens": "cls"}, [0]),
    ("dinov2_with_registers", {"tokens": "special"}, [0, 1, 2, 3]),
    ("dinov2_with_registers", {"patches": (1, 2)}, [4 + 4 + 2]),
    ("dinov2_with_registers", {"patches": "1:3,2:4"}, [10, 11, 14, 15]),
    ("dinov2_with_registers", {"tokens": "patches", "exclude": slice(4, 18)}, [18, 19]),
    ("timm_vit", {"tokens": "last"}, [16]),
    ("deit", {"tokens": "distillation"}, [1]),
    ("videomae", {"frames": 1}, list(range(16, 32))),
    ("videomae", {"patches": (1, 2)}, [6, 22]),
    ("videomae", {"patches": [(1, 2), (3, 3)], "frames": [0]}, [6, 15]),
    ("vjepa2", {"frames": 1, "patches": (1, 0)}, [6]),
    ("timesformer", {"frames": 1}, [2, 5, 8, 11]),  # places first, frames last, behind the class token
    ("timesformer", {"patches": (0, 1)}, [4, 5, 6]),
    ("vit", {"region": torch.tensor([[0.0, 1.0], [0.0, 0.0]])}, [3, 4, 7, 8]),
]


@pytest.mark.parametrize(("family", "scope", "places"), PLACES)
def test_a_scope_of_patches_frames_or_names_edits_these_tokens_alone(family, scope, places, held):
    one = held(family)
    before = oracles.read(one.tiny, "blocks.1.resid")
    with (
        one.model.edit({"blocks.1.resid": sl.Scale(2.0).on(**scope)}),
        one.model.read("blocks.1.resid") as reading,
    ):
        oracles.bare(one.tiny)
    moved = (reading.activations()["blocks.1.resid"] != before).any(-1)
    assert [row.nonzero().flatten().tolist() for row in moved] == [places, places]


def test_frames_of_single_images_and_patches_of_text_are_refused(held):
    for family, scope in (
        ("vit", {"frames": 0}),
        ("llama", {"patches": (0, 0)}),
        ("vit_mae", {"patches": (0, 0)}),
    ):
        one = held(family)
        with pytest.raises(sl.SteerlabError, match="blocks.1.resid: "):
            with one.model.edit({"blocks.1.resid": sl.Zero().on(**scope)}):
                oracles.bare(one.tiny)


@pytest.mark.parametrize("scope", [{"rows": [1]}, {"tokens": [1]}], ids=str)
@pytest.mark.parametrize("stream", ["heads", "q", "k", "v", "scores", "pattern"])
def test_where_a_model_folds_frames_into_the_batch_rows_and_tokens_are_refused(stream, scope, held):
    one = held("timesformer")
    for site in (f"blocks.1.{stream}", f"blocks.1.temporal.{stream}"):
        with pytest.raises(sl.SteerlabError, match=site):
            with one.model.edit({site: sl.Fn(lambda x: x).on(**scope)}):
                oracles.bare(one.tiny)


VECTOR = torch.linspace(-2, 2, 32)
TEXTS = ["the cat sat on Monday and Monday", "Monday is red"]
PADDED_CHOICES = [
    ("last", [["Monday"], ["red"]]),
    ("first", [["<bos>"], ["<bos>"]]),
    ("word:Monday", [["Monday", "Monday"], ["Monday"]]),
    ("bos", [["<bos>"], ["<bos>"]]),
    (2, [["cat"], ["is"]]),
    (-2, [["and"], ["is"]]),
    (slice(1, 3), [["the", "cat"], ["Monday", "is"]]),
    (slice(-2, None), [["and", "Monday"], ["is", "red"]]),
    ("1:3", [["the", "cat"], ["Monday", "is"]]),
    ((0, 3), [["<bos>", "sat"], ["<bos>", "red"]]),
    ("all", [["<bos>", *TEXTS[0].split()], ["<bos>", *TEXTS[1].split()]]),
]


def padded(made: tiny.Tiny, side: str) -> dict[str, torch.Tensor]:
    return dict(made.tokenizer(TEXTS, return_tensors="pt", padding=True, padding_side=side))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", tiny.LLMS)
def test_padding_on_either_side_chooses_the_same_words(family, side, held):
    one = held(family)
    inputs = padded(one.tiny, side)
    tokens = one.model.capture(inputs, at="embed").map_of("embed")
    for choice, words in PADDED_CHOICES:
        chosen = tokens.select(choice).expand(2, -1)
        rows = zip(inputs["input_ids"], chosen, strict=True)
        found = [one.tiny.tokenizer.convert_ids_to_tokens(ids[on]) for ids, on in rows]
        assert found == words, choice


@pytest.mark.parametrize("choice", ["last", 2, "word:Monday", slice(1, 3), -2], ids=str)
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox"])  # places relative to one another alone
def test_padding_on_either_side_has_the_same_effect_as_none(family, choice, held):
    one = held(family)
    edit = {"blocks.0.resid": sl.Scale(-2.0).on(tokens=choice)}
    logits = {}
    for side in ("left", "right"):
        inputs = padded(one.tiny, side)
        with one.model.edit(edit):
            output = one.tiny.model(**inputs).logits
        logits[side] = [row[mask.bool()] for row, mask in zip(output, inputs["attention_mask"], strict=True)]
    for row, text in enumerate(TEXTS):
        with one.model.edit(edit):
            alone = one.model.logits(text)[0]
        assert not torch.allclose(alone, one.model.logits(text)[0], atol=1e-3)
        assert torch.allclose(logits["left"][row], alone, atol=1e-4)
        assert torch.allclose(logits["right"][row], alone, atol=1e-4)


def at_place(place: int, pads: list[int], cached: bool):
    """By hand: move the token at an absolute place of each row, in prefill or in the step that makes it."""
    seen = [0]

    def change(x: torch.Tensor) -> torch.Tensor:
        start = seen[0] if cached else 0
        seen[0] += x.shape[1]
        y = x.clone()
        for row, pad in enumerate(pads):
            if 0 <= place + pad - start < x.shape[1]:
                y[row, place + pad - start] += VECTOR
        return y

    return change


@pytest.mark.parametrize("place", [0, 2, 5, 8])
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_generation_edits_one_absolute_place_alone(family, cached, place, held):
    one = held(family)
    prompt = one.tiny.padded

    def scores() -> torch.Tensor:
        output = one.tiny.model.generate(
            **prompt, max_new_tokens=6, do_sample=False, use_cache=cached, pad_token_id=tiny.PAD,
            eos_token_id=None, return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
        return torch.stack(output.logits)

    with one.model.edit({"blocks.0.resid": sl.Add(VECTOR).on(tokens=place)}) as receipt:
        edited = scores()
        again = scores()  # a second run counts from the start again
    point = oracles.points(one.tiny)["blocks.0.resid"]
    pads = [0, 3]
    with oracles.hooked(one.tiny, one.tiny.model, point, at_place(place, pads, cached), 2):
        truth = scores()
    assert torch.equal(edited, truth) and torch.equal(again, edited)
    assert not torch.equal(edited, scores())
    if cached:  # both rows, in both runs, once
        assert receipt["blocks.0.resid"].tokens == 4


@pytest.mark.parametrize("tokens", [4, slice(2, 6), "last", [0, 5]], ids=str)
def test_a_prompt_in_chunks_is_edited_as_the_whole_prompt_is(tokens, held):
    one = held("llama")
    ids = one.tiny.inputs["input_ids"]
    edit = {"blocks.0.resid": sl.Add(VECTOR).on(tokens=tokens)}
    with one.model.edit(edit):
        whole = one.model.logits(ids)[:, -1]
    place = 6 if tokens == "last" else tokens  # every chunk has a last token of its own
    with one.model.edit({"blocks.0.resid": sl.Add(VECTOR).on(tokens=place)}), torch.no_grad():
        first = one.tiny.model(ids[:, :3], use_cache=True)
        chunked = one.tiny.model(ids[:, 3:], past_key_values=first.past_key_values).logits[:, -1]
    assert torch.allclose(chunked, whole, atol=1e-5)
    assert not torch.allclose(chunked, one.model.logits(ids)[:, -1], atol=1e-3)


def test_places_in_a_step_with_a_cache_are_counted_from_the_start_of_the_text(held):
    one = held("llama")
    prompt = one.tiny.padded
    first = one.tiny.model(**prompt, use_cache=True)
    mask = torch.cat([prompt["attention_mask"], torch.ones(2, 1, dtype=torch.long)], dim=1)
    step = {
        "input_ids": torch.tensor([[9], [10]]),
        "attention_mask": mask,
        "past_key_values": first.past_key_values,
    }
    tokens = one.model.capture(step, at="blocks.1.resid").map_of("blocks.1.resid")
    assert tokens.position.tolist() == [[7], [4]] and tokens.count == 1
    assert tokens.select(4).tolist() == [[False], [True]]
    assert tokens.select("last").tolist() == [[True], [True]]


def test_the_grid_of_a_latent_is_found_at_every_level_of_its_denoiser(held):
    right_half = torch.tensor([[0.0, 1.0]])
    levels = {
        "sd": ["unet.latent", "unet.down.1.0.update"],
        "pixart": ["transformer.blocks.1.resid", "transformer.noise"],
    }
    for family, sites in levels.items():
        one = held(family)
        for site in sites:
            short = {**one.tiny.inputs, "num_inference_steps": 2}
            with one.model.edit({site: sl.Fn(lambda x: x + 1).on(region=right_half)}) as receipt:
                oracles.bare(one.tiny, short)
            entry, places = receipt[site], one.model.capture(short, at=site)[site].shape[-2]
            assert entry.tokens == entry.fires * entry.rows * places // 2
