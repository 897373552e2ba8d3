"""`.steer` folders: every edit comes back as it was, and what is not what it says is refused."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import build
from safetensors.torch import load_file, save_file
from test_edit_laws import DIM, EXAMPLES, SAE, TRANSCODER, random

import steerlab as sl
from steerlab.errors import SteerlabError, SteerlabWarning
from steerlab.store import kinds
from steerlab.trees import built, written

SAVED = [(n, e) for n, edits in EXAMPLES.items() for e in edits if n not in ("Fn", "Listen")]


@pytest.fixture
def llama():
    return build("llama")


@pytest.mark.parametrize(("name", "edit"), SAVED, ids=[f"{n} {i}" for i, (n, _) in enumerate(SAVED)])
def test_every_edit_comes_back_to_the_bit(name, edit):
    plain, tensors = written(edit, kinds())
    again = built(json.loads(json.dumps(plain)), tensors, kinds())
    x = random(2, 1, 3, DIM, seed=7) if "scores" in edit.streams else random(2, 3, DIM, seed=7)
    assert torch.equal(again(x), edit(x)) and repr(again) == repr(edit)


SCOPES = {
    "tokens": {"tokens": "generated[0:8]", "exclude": [0, -1]},
    "slices": {"tokens": slice(1, 4), "rows": range(0, 2), "steps": [1, 2]},
    "patches": {"patches": (1, 2), "frames": [0, 1], "region": torch.ones(4, 4)},
    "time": {"steps": "fraction:0.2:0.7", "branch": "cond", "strength": sl.Ramp(0.0, 1.0)},
    "words": {"when": "Monday", "strength": 0.5},
}


@pytest.mark.parametrize("name", SCOPES)
def test_every_choice_of_a_scope_comes_back(name):
    scope = sl.Scope(**SCOPES[name])
    plain, tensors = written(scope, kinds())
    assert str(built(json.loads(json.dumps(plain)), tensors, kinds())) == str(scope)


def test_a_saved_intervention_does_in_a_new_object_what_it_did(llama, tmp_path):
    lm, inputs = llama.model, llama.tiny.inputs
    width = lm._points.find("blocks.1.resid")[0][1].shape[-1]
    sae = sl.Dictionary(decoder=random(20, width), encoder=sl.Pursuit(4), facts=sl.Facts(model="tiny"))
    edits = {
        "blocks.1.resid": [sl.Add(random(width), 2.0).on(tokens=[0, 1]), sl.Zero(sae.only([3, 4]))],
        "blocks.*.heads.1": sl.Scale(0.5),
        "blocks.0.mlp": sl.Clamp(-1e-3, 1e-3, basis=sl.Subspace(random(2, width))),
    }
    folder = sl.save_intervention(edits, tmp_path / "calm", model=lm, about="calmer", licence="CC0-1.0")
    assert folder.name == "calm.steer" and sorted(p.name for p in folder.iterdir()) == [
        "steer.json",
        "steer.safetensors",
    ]
    loaded = sl.load_intervention(folder)
    assert loaded.about == "calmer" and loaded.licence == "CC0-1.0" and len(loaded) == 3
    outputs = []
    for intervention in (edits, loaded):
        with lm.edit(intervention) as receipt:
            outputs.append(lm.logits(inputs))
    assert torch.equal(*outputs) and len(receipt) == 6
    assert not torch.equal(outputs[0], lm.logits(inputs))


def test_one_dictionary_in_many_edits_is_written_once(tmp_path, llama):
    width = llama.model._points.find("blocks.1.resid")[0][1].shape[-1]
    sae = sl.Dictionary(decoder=random(500, width), encoder=sl.Pursuit(4))
    edits = {f"blocks.{b}.resid": sl.Scale(2.0, sae) for b in (0, 1)}
    folder = sl.save_intervention(edits, tmp_path / "two.steer", model=llama.model)
    assert len(load_file(folder / "steer.safetensors")) == 1
    loaded = sl.load_intervention(folder)
    bases = [edit.basis for each in loaded.values() for edit in each]
    assert bases[0] is bases[1]


def test_a_transcoder_and_what_it_hears_stay_together():
    sites = sl.across(TRANSCODER, lambda live: sl.Zero(live.only([0, 2])))
    plain, tensors = written(sites, kinds())
    again = built(json.loads(json.dumps(plain)), tensors, kinds())
    reads, writes = random(2, 3, DIM, seed=1), random(2, 3, DIM, seed=2)
    for one in (sites, again):
        one["blocks.1.resid_mid"](reads)
    assert torch.equal(again["blocks.1.mlp"](writes), sites["blocks.1.mlp"](writes))


def test_a_model_it_does_not_fit_refuses_it(llama, tmp_path):
    width = llama.model._points.find("blocks.1.resid")[0][1].shape[-1]
    folder = sl.save_intervention(
        {"blocks.1.resid": sl.Add(random(width))}, tmp_path / "a", model=llama.model
    )
    loaded = sl.load_intervention(folder)
    with pytest.raises(SteerlabError, match="made on LlamaForCausalLM, and this is GPT2LMHeadModel"):
        build("gpt2").model.edit(loaded)
    content = json.loads((folder / "steer.json").read_text())
    content["model"]["sites"]["blocks.1.resid"] = [width + 1]
    (folder / "steer.json").write_text(json.dumps(content))
    with pytest.raises(SteerlabError, match=rf"needs sizes \[{width + 1}\], .* has \[{width}\]"):
        llama.model.edit(sl.load_intervention(folder))


def test_other_weights_of_the_same_model_are_said(llama, tmp_path):
    width = llama.model._points.find("blocks.1.resid")[0][1].shape[-1]
    folder = sl.save_intervention(
        {"blocks.1.resid": sl.Add(random(width))}, tmp_path / "a", model=llama.model
    )
    content = json.loads((folder / "steer.json").read_text())
    name = sorted(content["model"]["weights"])[0]
    content["model"]["weights"][name] *= 1.1
    (folder / "steer.json").write_text(json.dumps(content))
    with pytest.warns(SteerlabWarning, match="made on other weights"):
        llama.model.edit(sl.load_intervention(folder))


@pytest.mark.parametrize(
    "edit",
    [sl.Fn(torch.relu), sl.Add(random(DIM)).on(when=lambda text: True), sl.Chain([sl.Fn(torch.relu)])],
    ids=("Fn", "a condition", "inside a chain"),
)
def test_code_is_not_saved(edit, llama, tmp_path):
    with pytest.raises(SteerlabError, match="which is code or an object that no safe file can hold"):
        sl.save_intervention({"blocks.1.resid": edit}, tmp_path / "a", model=llama.model)
    assert not (tmp_path / "a.steer").exists()


def saved(tmp_path, llama):
    width = llama.model._points.find("blocks.1.resid")[0][1].shape[-1]
    return sl.save_intervention({"blocks.1.resid": sl.Add(random(width))}, tmp_path / "a", model=llama.model)


def changed(**more):
    def change(content):
        content.update(more)

    return change


BROKEN = {
    "another version": (changed(version=9), "reads format 'steer', version 1"),
    "an unknown key": (changed(licens="x"), "unknown key 'licens'.*did you mean 'licence'"),
    "no model": (changed(model=None), "does not say which model"),
    "an unknown kind": (
        changed(interventions={"blocks.1.resid": [{"kind": "os.system", "command": "true"}]}),
        "no kind 'os.system'",
    ),
    "a class that is no edit": (
        changed(interventions={"blocks.1.resid": [{"kind": "Model"}]}),
        "no kind 'Model'",
    ),
    "another parameter": (
        changed(interventions={"blocks.1.resid": [{"kind": "Scale", "factr": 2.0}]}),
        "not the parameters of Scale",
    ),
    "a wrong value": (
        changed(interventions={"blocks.1.resid": [{"kind": "Scale", "factor": "2"}]}),
        "factor='2' is not a number",
    ),
    "a missing tensor": (
        changed(interventions={"blocks.1.resid": [{"kind": "Add", "vector": {"$tensor": "no"}}]}),
        "has no tensor 'no'",
    ),
    "an unknown mark": (
        changed(interventions={"blocks.1.resid": [{"$import": ["os"]}]}),
        r"'\$import' is not a mark",
    ),
    "a list": (changed(interventions=[1]), "holds no interventions by site"),
    "not an edit": (changed(interventions={"blocks.1.resid": [3]}), "3 is not an edit"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_not_what_it_says_is_refused(name, llama, tmp_path):
    change, says = BROKEN[name]
    folder = saved(tmp_path, llama)
    content = json.loads((folder / "steer.json").read_text())
    change(content)
    (folder / "steer.json").write_text(json.dumps(content))
    with pytest.raises(SteerlabError, match=says):
        sl.load_intervention(folder)


def test_broken_files_are_named(llama, tmp_path):
    folder = saved(tmp_path, llama)
    tensors = (folder / "steer.safetensors").read_bytes()
    (folder / "steer.safetensors").write_bytes(tensors[:-20])
    with pytest.raises(SteerlabError, match="steer.safetensors is not a whole safetensors file"):
        sl.load_intervention(folder)
    save_file({"interventions": torch.zeros(3)}, folder / "steer.safetensors")
    with pytest.raises(SteerlabError, match="not the file that steer.json was written with"):
        sl.load_intervention(folder)
    (folder / "steer.json").write_text("{")
    with pytest.raises(SteerlabError, match="steer.json is not JSON"):
        sl.load_intervention(folder)
    with pytest.raises(SteerlabError, match="no such file or folder"):
        sl.load_intervention(tmp_path / "b.steer")


def test_a_dictionary_at_another_site_is_said(llama):
    width = llama.model._points.find("blocks.1.resid")[0][1].shape[-1]
    sae = sl.Dictionary(
        decoder=random(9, width), encoder=sl.Pursuit(2), facts=sl.Facts(site="blocks.0.resid")
    )
    with pytest.warns(SteerlabWarning, match="was trained at blocks.0.resid, where its codes"):
        llama.model.edit({"blocks.1.resid": sl.Zero(sae.only(3))})
    llama.model.edit({"blocks.0.resid": sl.Zero(sae.only(3))})
    llama.model.edit({"blocks.1.resid_pre": sl.Zero(sae.only(3))})  # the same activation
    assert SAE.site is None
