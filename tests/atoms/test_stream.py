"""Activations in batches: what is kept of texts, pipelines and towers, and samples that do not grow."""

from __future__ import annotations

import pytest
import tiny
import torch
from exact_atoms import mirrored

import steerlab as sl
from steerlab import atoms
from steerlab.atoms.stream import Reservoir, listened, reads_of


def test_of_a_pipeline_every_step_counts_on_the_branch_of_the_prompt(held):
    one, site = held("sdxl"), "unet.down.2.0.update"
    sae = mirrored(32, site)
    inputs = one.tiny.inputs | {"generator": torch.Generator().manual_seed(0)}
    again = one.tiny.inputs | {"generator": torch.Generator().manual_seed(0)}
    found = atoms.top_inputs(one.model, sae, [3], [inputs], k=2)
    whole = one.model.capture(again, site)[site]  # [step, branch * image, token, dim]
    assert whole.shape == (3, 4, 16, 32)
    expected = whole[:, 2:, :, 3].relu().amax(0)
    order = expected.amax(1).argsort(descending=True).tolist()
    assert [m.index for m in found[3]] == order and found.seen == 2
    for one_map in found[3]:
        torch.testing.assert_close(one_map.codes.flatten(), expected[one_map.index], atol=1e-5, rtol=1e-4)
        assert one_map.input == {"prompt": one.tiny.inputs["prompt"][one_map.index]}
    fitted = atoms.fit(one.model, sae, [one.tiny.inputs])
    assert fitted.entries == 3 * 2 * 16 and fitted.splice is None and fitted.r2 == pytest.approx(1)
    with pytest.raises(sl.SteerlabError, match="a pipeline is not one forward"):
        atoms.importance(one.model, one.tiny.inputs, sae, output=0, atoms=[1])


def test_a_tower_that_runs_alone_gives_the_same_output_to_every_method(held):
    one = held("clip")
    sae = mirrored(32, "vision.blocks.1.resid")
    ways = [
        atoms.importance(one.model, one.tiny.inputs, sae, output=first, atoms=[1, 2, 35], method=method)
        for method in ("ablation", "gradient", "sobol")
    ]
    pixels = {"pixel_values": one.tiny.inputs["pixel_values"]}
    with torch.no_grad():
        pooled = one.tiny.model.get_image_features(**pixels)
    pooled = pooled if isinstance(pooled, torch.Tensor) else pooled.pooler_output
    for way in ways:
        torch.testing.assert_close(way.output.float(), pooled[:, 0], atol=1e-5, rtol=1e-4)


def first(embeddings: torch.Tensor) -> torch.Tensor:
    return embeddings[:, 0]


def test_a_sample_is_uniform_over_the_stream_and_no_larger_than_asked():
    counts = torch.zeros(40)
    for seed in range(300):
        some = Reservoir(10, seed)
        for rows in torch.arange(40.0)[:, None].split(7):
            some.add(rows)
            assert len(some.rows) <= 10
        assert len(some.rows.unique()) == 10
        counts[some.rows[:, 0].long()] += 1
    assert float((counts - 75).abs().max()) < 4 * (300 * 0.25 * 0.75) ** 0.5
    with pytest.raises(sl.SteerlabError, match="no entries"):
        _ = Reservoir(3).rows


def test_only_one_batch_is_held_and_batches_are_read_when_they_are_needed(held):
    model, given = held("llama").model, []

    def batches():
        for text in ("the cat", "a dog ran"):
            given.append(text)
            yield text

    sae = mirrored(32, "blocks.0.resid")
    stream = listened(model, sae, batches(), site=model.site("blocks.0.resid"))
    assert next(stream).batch == "the cat" and given == ["the cat"]
    assert next(stream).entries()[0].shape == (3, 32) and given == ["the cat", "a dog ran"]


def test_codes_of_half_precision_models_are_those_that_edits_see():
    made = tiny.tiny("llama")
    model = sl.wrap(made.model.to(torch.bfloat16), made.tokenizer)
    sae = mirrored(32, "blocks.0.resid")
    heard = next(listened(model, sae, ["the cat"], site=model.site("blocks.0.resid")))
    assert heard.source.dtype is torch.float32 and heard.source.shape == (1, 3, 32)
    found = atoms.fit(model, sae, ["the cat", "a dog"])
    assert found.r2 == pytest.approx(1) and found.splice.kl["spliced"] == 0
    assert atoms.importance(model, "the cat", sae, output=3, method="gradient").values.isfinite().all()


def test_a_transcoder_elsewhere_reads_the_same_stream_there(held):
    model = held("llama").model
    facts = sl.Facts(reads="blocks.1.resid_mid", site="blocks.1.mlp")
    transcoder = sl.Dictionary(decoder=torch.eye(64, 32), encoder=mirrored(32).encoder, facts=facts)
    sites = [model.site(f"blocks.{i}.mlp") for i in (1, 2)]
    assert [str(reads_of(model, transcoder, site)) for site in sites] == [
        "blocks.1.resid_mid",
        "blocks.2.resid_mid",
    ]
    assert reads_of(model, mirrored(32), sites[0]) == sites[0]


@pytest.mark.parametrize(
    ("site", "tokens", "message"),
    [
        ("blocks.1.resid", "cls", "no tokens named 'cls'"),
        (None, None, "at which site"),
        ("blocks.9.resid", None, "has 3 blocks"),
    ],
)
def test_what_is_not_there_is_said(held, site, tokens, message):
    sae = mirrored(32, site)
    with pytest.raises(sl.SteerlabError, match=message):
        atoms.top_inputs(held("llama").model, sae, 0, ["the cat"], tokens=tokens)
