"""Phases: blocks that share their weights are found to, nulls and controls stand beside, and all is kept."""

from __future__ import annotations

import copy

import pytest
import torch

import steerlab as sl
from steerlab.analyzers import Phases
from steerlab.analyzers.raptor.observing import MEASURES, observe
from steerlab.analyzers.raptor.reading import parts_of, pooled
from steerlab.analyzers.raptor.replacing import matched
from steerlab.errors import SteerlabError
from steerlab.keeping import keeping
from steerlab.rewiring import rewired
from steerlab.surrogates import Distilling
from steerlab.surrogates.teacher import Path, paths

FEW = {"nulls": 4, "draws": 2, "sizes": [0.1], "controls": 2, "batch": 4, "probed": 4}


@pytest.fixture(scope="module")
def planted() -> sl.Model:
    """A ViT whose blocks 1 to 3 are block 0, and 5 is block 4."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 6,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 4,
    }
    model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=2)).eval()
    for parameter in model.encoder.layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for number, source in ((1, 0), (2, 0), (3, 0), (5, 4)):
        model.encoder.layer[number].load_state_dict(model.encoder.layer[source].state_dict())
    return sl.wrap(model)


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def report(planted, pixels) -> sl.Report:
    # the states' own similarity may say otherwise; what is tested is the cut at 4
    return Phases(criterion="functional", **FEW)(planted, pixels)


def test_blocks_with_the_same_weights_replace_one_another_exactly_and_others_do_not(report):
    table = report.tables["replacements"]
    shares = {0: 0, 1: 0, 2: 0, 3: 0, 4: 1, 5: 1}
    for effect, old, new in zip(table["effect"], table["replaced"], table["by"], strict=True):
        same = all(shares[int(a)] == shares[int(b)] for a, b in zip(old.split(), new.split(), strict=True))
        assert (float(effect) < 1e-6) == same, (old, new)
    assert set(table["draw"]) == {"neighbour", "random"} and set(table["blocks"].tolist()) == {1, 2, 3}
    assert set(table["kind"]) == {"inside", "across"}


def test_means_are_matched_by_distance():
    table = {
        "effect": torch.tensor([1.0, 3.0, 10.0, 20.0, 5.0, 99.0]),
        "kind": ["inside", "inside", "across", "inside", "across", "across"],
        "draw": ["neighbour"] * 5 + ["random"],
        "replaced": ["0", "1", "2", "0", "1", "5"],
        "by": ["1", "0", "3", "2", "3", "0"],
    }
    assert matched(table) == {"inside": (2 + 20) / 2, "across": (10 + 5) / 2}


def test_the_pass_over_inputs_is_what_numpy_says_and_does_not_depend_on_the_parts(planted, pixels):
    read = paths(planted, "blocks", (0, 6))
    seen = observe(parts_of(pixels, 4), read, tokens="cls+meanpatch", nulls=2, seed=0)
    again = observe([pixels], read, tokens="cls+meanpatch", nulls=2, seed=0)
    states = read(pixels).states.double().numpy()
    pairs = [states[1:, :, 0], states[1:, :, 3:].mean(2)]
    unit = [x / (x**2).sum(-1, keepdims=True) ** 0.5 for x in pairs]
    cosines = sum((x[:, None] * x[None]).sum(-1).mean(-1) for x in unit) / 2
    assert torch.allclose(1 - seen.dissimilarity, torch.from_numpy(cosines), atol=1e-6)
    assert torch.allclose(seen.nulls, again.nulls, atol=1e-6)
    for group, span in (("cls", slice(0, 1)), ("patches", slice(3, None))):
        own = states[:, :, span]
        norm = (own**2).sum(-1) ** 0.5
        end = (own * own[-1]).sum(-1) / norm / norm[-1]
        found = seen.measures[group]
        assert set(found) == set(MEASURES)
        assert torch.allclose(found["convergence"], torch.from_numpy(end.mean((1, 2))), atol=1e-6)
        assert torch.allclose(found["norm"], torch.from_numpy(norm.mean((1, 2))), atol=1e-5)
        assert torch.allclose(found["speed"][1:], again.measures[group]["speed"][1:], atol=1e-6)
    assert bool(seen.measures["cls"]["speed"][0].isnan()) and len(seen.steps) == 6
    assert float(seen.steps[0].gram[-1, -1]) == 24  # two vectors an image
    assert seen.steps[0].cross.shape == (4, 3)  # which are enough for three directions


def test_what_stands_for_an_image_is_chosen():
    states = torch.arange(2 * 1 * 5 * 3.0).view(2, 1, 5, 3)
    path = Path(states, {"cls": slice(0, 1), "patches": slice(2, 5)})
    assert torch.equal(pooled(path, "all"), states)
    assert torch.equal(pooled(path, "last"), states[:, :, 4:])
    assert torch.equal(
        pooled(path, "cls+meanpatch"), torch.stack([states[:, :, 0], states[:, :, 2:].mean(2)], 2)
    )
    with pytest.raises(SteerlabError, match="tokens='last'"):
        pooled(Path(states, {"all": slice(None)}), "cls+meanpatch")


def test_perturbations_are_as_large_as_asked_and_the_control_is_the_same_path_with_other_updates(report):
    turned = report.tables["perturbations"]
    first = [
        float(angle)
        for angle, block, layer in zip(turned["angle"], turned["block"], turned["layer"], strict=True)
        if int(layer) == int(block) + 1
    ]
    assert first == pytest.approx([torch.tensor(0.1).atan().item()] * len(first), rel=1e-4)
    ratios = report.tables["contraction"]
    assert set(ratios["tokens"]) == {"cls", "registers", "patches"} and len(ratios["rho"]) == 9
    assert bool((ratios["control rho"] > 0).all()) and not torch.equal(ratios["rho"], ratios["control rho"])


def test_linear_steps_stand_beside_a_map_of_the_ends_and_the_identity(report):
    table = report.tables["linear steps"]
    assert table["way"][:3] == ["linear step", "endpoint map", "identity"]
    assert int(table["to"][-1]) == 6 and bool((table["cosine"] <= 1 + 1e-9).all())
    assert float(table["cosine"][1]) > float(
        table["cosine"][2]
    )  # a fitted map of the ends is better than none


def test_cuts_are_listed_for_each_criterion_beside_their_nulls(report):
    cuts = report.tables["cuts"]
    assert cuts["phases"].tolist() == [2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert cuts["criterion"][:3] == ["sum", "mean", "functional"]
    shares = cuts["nulls with as much"][:2]
    assert bool(((shares >= 0) & (shares <= 1)).all()) and bool(cuts["nulls with as much"][2].isnan())


def test_the_interventions_are_saved_and_do_the_same_again(report, planted, pixels, tmp_path):
    again = sl.Report.load(report.save(tmp_path))
    assert str(again) == str(report) and set(again.figures()) == set(report.plots)
    names = set(report.interventions)
    assert {"updates of rank 4", "mean-field updates", "freeze the class token", "swap blocks"} < names
    base = planted.capture(pixels, at="blocks.5.resid").stack()
    for name, old in report.interventions.items():
        outputs = []
        for one in (old, again.interventions[name]):
            with planted.edit(one) if isinstance(one, sl.Intervention) else rewired(planted, one):
                outputs.append(planted.capture(pixels, at="final")["final"])
        assert torch.equal(*outputs), name
    start = report.interventions["freeze the class token"]
    first = min(int(site.split(".")[1]) for site in start)
    with planted.edit(start):
        frozen = planted.capture(pixels, at=[f"blocks.{first}.resid_pre", "blocks.5.resid"]).stack()
    assert torch.equal(frozen[0, :, 0], frozen[1, :, 0]) and not torch.equal(frozen[1, :, 1:], base[0, :, 1:])


def test_a_run_that_was_cut_off_goes_on_from_what_it_did(planted, pixels, report, tmp_path):
    question = Phases(criterion="functional", **FEW)
    with keeping(tmp_path) as first:
        question(planted, pixels)
    assert first.reused == 0
    with keeping(tmp_path) as second:
        again = question(planted, pixels)
    assert second.reused == len(list(tmp_path.iterdir())) > 30 and str(again) == str(report)


def test_shared_blocks_are_trained_and_handed_over(planted, pixels):
    settings = Distilling(batch=4, steps=4, steps_together=2, warmup=1, lr=1e-3, layer_scale=0.1, hidden=8)
    found = Phases(surrogate=settings, **FEW)(planted, pixels)
    table = found.tables["closed loop"]
    assert set(table["cuts"]) <= {"phases", "equal", "shuffled"} and len(table["layer"]) % 18 == 0
    assert "standing still" in found.tables["closed loop by layer"]
    with rewired(planted, found.interventions["surrogate"]):
        assert planted.capture(pixels, at="final")["final"].shape == (12, 19, 16)


def test_language_models_and_towers_are_read_alike(planted):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2}
    llama = sl.wrap(LlamaForCausalLM(LlamaConfig(vocab_size=11, **sizes)).eval())
    ids = torch.randint(11, (6, 7), generator=torch.Generator().manual_seed(0))
    few = FEW | {"batch": 3}
    found = Phases(tokens="last", **few)(llama, {"input_ids": ids})
    assert found.tables["layers"]["similarity"].shape == (4, 4)
    assert set(found.tables["contraction"]["tokens"]) == {"all"}
    clip = copy.copy(sl.load("zoo:shapes-clip"))
    views = {"pixel_values": torch.randn(6, 3, 64, 64), "input_ids": torch.tensor([[0, 5, 1]] * 6)}
    assert "cut at" in Phases(at="vision.blocks", **few)(clip, views).title


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tokens": "cls+meanpach"}, "did you mean 'cls\\+meanpatch'"),
        ({"criterion": "max"}, "known: sum, mean, functional"),
        ({"sizes": [0]}, "lengths above 0"),
        ({"phases": 1}, "phases=1"),
        ({"surrogate": 3}, "Distilling"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, says):
    with pytest.raises(SteerlabError, match=says):
        Phases(**wrong)


def test_too_few_blocks_or_inputs_are_refused(planted, pixels):
    with pytest.raises(SteerlabError, match="too few for 4 phases"):
        Phases(phases=4)(planted, pixels)
    with pytest.raises(SteerlabError, match="a list of inputs"):
        Phases()(planted, 5)
