"""Recipes: TOML says what Python says, and a mistake is told with its line while nothing is run."""

from __future__ import annotations

import dataclasses
import random
import string
from pathlib import Path

import pytest
import torch

import steerlab as sl
from steerlab.analyzers import Analyzer, HeadGrid
from steerlab.errors import SteerlabError
from steerlab.inputs import Clips, Photos, Scenes, Texts
from steerlab.made import Later, opened
from steerlab.recipe import Recipe
from steerlab.report import Report
from steerlab.toml_lines import line_of

GOOD = """about = "which heads"
model = "zoo:shapes-vit"
seed = 3

[data]
kind = "Scenes"
count = 4

[analyzer]
kind = "HeadGrid"
at = "blocks.1.heads"
strongest = 2
"""


def test_toml_is_the_python_object():
    ours = Recipe("zoo:shapes-vit", Scenes(4), HeadGrid(at="blocks.1.heads", strongest=2), "which heads", 3)
    assert Recipe.parse(GOOD) == ours
    assert Recipe.parse(ours.to_toml()) == ours
    assert Recipe.parse(GOOD.replace("strongest = 2", "strongest = 1")) != ours


@pytest.mark.parametrize("data", [Texts(["a", 'b "c"\n']), Photos(["x/y.png"]), Scenes(3, 5), Clips(2)])
def test_every_input_goes_there_and_back(data):
    ours = Recipe("zoo:x", data, HeadGrid())
    again = Recipe.parse(ours.to_toml())
    assert again == ours and again.data == data


def test_a_run_is_the_analyzer_on_the_model_and_the_data():
    recipe = Recipe.parse(GOOD)
    found = recipe.run()
    direct = recipe.analyzer(sl.load("zoo:shapes-vit"), recipe.data.load(Path()))
    effects = found.tables["heads"]["effect"]
    assert torch.allclose(effects, direct.tables["heads"]["effect"]) and len(effects) == 4
    best = found.tables["heads"]["site"][int(effects.argmax())]
    assert best in {str(at) for at in found.interventions["silence the strongest"]}
    assert len(found.interventions["silence the strongest"]) == 2
    assert found.evidence[0].rung == "intervened" and len(found.evidence[0].controls) == 4


def test_lets_are_shared_and_what_must_be_opened_waits(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Holding(Analyzer):
        edit: object = None
        other: object = None

        def __call__(self, model, data):
            return Report("x")

    sae = sl.Dictionary(decoder=torch.randn(8, 4), encoder=sl.Pursuit(2))
    sae.save(tmp_path / "sae.safetensors")
    text = """
model = "zoo:shapes-vit"
[let.sae]
kind = "LoadDictionary"
name = "sae.safetensors"
[let.atom]
kind = "Atom"
dictionary = "$sae"
number = 3
[data]
kind = "Scenes"
[analyzer]
kind = "Holding"
edit = { kind = "Add", vector = "$atom", strength = 2.0 }
other = { kind = "Zero", basis = { kind = "Only", dictionary = "$sae", atoms = [1, 2] } }
"""
    recipe = Recipe.parse(text, folder=tmp_path)
    assert isinstance(recipe.analyzer, Later)
    made = opened(recipe.analyzer, tmp_path)
    assert torch.equal(made.edit.vector, sae[3]) and made.edit.strength == 2
    assert made.other.basis.index.tolist() == [1, 2]
    again = Recipe.parse(recipe.to_toml(), folder=tmp_path)
    assert again == recipe


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


# name -> the text, and what the message says
MALFORMED = {
    "not TOML": ("model = ", "line 1|end of document"),
    "binary rubbish": ("\x00\x01\x02", "Illegal|Invalid"),
    "a key twice": (GOOD + "strongest = 3\n", "overwrite"),
    "a table twice": (GOOD + "[data]\nkind = 'Texts'\n", "twice|declare"),
    "an unknown key": (changed("seed", "sede"), "line 3: no key 'sede'; did you mean 'seed'"),
    "an unknown section": (GOOD + "[analyser]\n", "line 13: no key 'analyser'; did you mean 'analyzer'"),
    "no model": (changed('model = "zoo:shapes-vit"\n', ""), "a recipe needs 'model'"),
    "no data": (GOOD[: GOOD.index("[data]")] + GOOD[GOOD.index("[analyzer]") :], "needs 'data'"),
    "no analyzer": (GOOD[: GOOD.index("[analyzer]")], "a recipe needs 'analyzer'"),
    "the model is a number": (changed('"zoo:shapes-vit"', "3"), "model=3 is not a text"),
    "the seed is a text": (changed("seed = 3", 'seed = "3"'), "seed='3' is not a whole number"),
    "the seed is true": (changed("seed = 3", "seed = true"), "seed=True is not a whole number"),
    "the seed is huge": (changed("seed = 3", f"seed = {10**40}"), "is not a whole number from 0 on"),
    "the seed is below zero": (changed("seed = 3", "seed = -1"), "is not a whole number from 0 on"),
    "no kind": (changed('kind = "Scenes"\n', ""), r"line 5: \[data\] says no kind"),
    "an unknown kind": (changed('"Scenes"', '"Scened"'), "line 6: no kind 'Scened'; did you mean 'Scenes'"),
    "a kind that is a number": (changed('"Scenes"', "7"), "line 6: no kind 7"),
    "a kind of another room": (changed('"Scenes"', '"HeadGrid"').replace("count = 4\n", ""), "is no input"),
    "an edit for an analyzer": (
        GOOD[: GOOD.index("[analyzer]")] + "[analyzer]\nkind = 'Zero'\n",
        "Zero is no analyzer",
    ),
    "an unknown parameter": (
        changed("strongest", "strongst"),
        "line 12: HeadGrid has no 'strongst'; did you mean 'strongest'",
    ),
    "a wrong type": (changed("strongest = 2", 'strongest = "2"'), "line 9: HeadGrid: strongest='2'"),
    "a wrong type of data": (changed("count = 4", 'count = "many"'), "line 5: Scenes: count='many'"),
    "too many": (changed("count = 4", f"count = {10**12}"), "is not a whole number from 1 on"),
    "a $name that is not there": (changed('"blocks.1.heads"', '"$heads"'), r"line 11: no \[let.heads\]"),
    "a $name that is nearly there": (
        changed('"blocks.1.heads"', '"$head"') + "[let.heads]\nkind = 'Scenes'\n",
        r"no \[let.head\]; did you mean 'heads'",
    ),
    "a let without use": (GOOD + "[let.a]\nkind = 'Scenes'\n", r"line 13: \[let.a\] is used nowhere"),
    "a let of itself": (
        changed('"blocks.1.heads"', '"$a"') + "[let.a]\nkind = 'Texts'\ntexts = '$a'\n",
        r"goes in a circle: \$a -> \$a",
    ),
    "lets in a circle": (
        changed('"blocks.1.heads"', '"$a"')
        + "[let.a]\nkind = 'Texts'\ntexts = '$b'\n[let.b]\nkind = 'Texts'\ntexts = '$a'\n",
        r"\$a -> \$b -> \$a",
    ),
    "a let that is no table": (GOOD + "[let]\na = 3\n", r"used nowhere|is a table"),
    "a let without kind": (
        changed('"blocks.1.heads"', '"$a"') + "[let.a]\ncount = 3\n",
        r"\[let.a\] says no kind",
    ),
    "data as a list": (GOOD.replace("[data]\nkind", "data = []\n[x]\nkind"), "no key 'x'|is no input"),
    "code in a text": (changed('"blocks.1.heads"', "\"__import__('os')\""), None),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_recipe_is_told_with_its_line_and_runs_nothing(name, tmp_path, monkeypatch):
    text, says = MALFORMED[name]
    file = tmp_path / "bad.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))

    def never(*args, **kwargs):
        raise AssertionError("a model was opened")

    monkeypatch.setattr("steerlab.recipe.load", never)
    if says is None:  # a text is a text, whatever it says; it names no site when the recipe runs
        assert Recipe.load(file).analyzer.at == "__import__('os')"
        return
    with pytest.raises(SteerlabError, match=says) as caught:
        Recipe.load(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["../outside.png"], "leads out of the recipe's folder"),
        (["/etc/hostname"], "leads out of the recipe's folder"),
        (["pictur.png"], "there is no 'pictur.png' beside the recipe; did you mean 'picture.png'"),
        (["picture.png"], "is not an image that can be read"),
    ],
)
def test_files_lie_beside_the_recipe(files, says, tmp_path):
    (tmp_path / "outside.png").write_bytes(b"x")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "picture.png").write_bytes(b"no image")
    with pytest.raises(SteerlabError, match=says):
        Photos(files).load(inner)


def test_other_bytes_and_missing_files_are_said(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SteerlabError, match="not a recipe that can be read"):
        Recipe.load(tmp_path / "a.toml")
    with pytest.raises(SteerlabError, match="not a recipe that can be read"):
        Recipe.load(tmp_path / "b.toml")


def test_ten_thousand_scrambled_recipes_raise_nothing_else():
    draw = random.Random(0)
    pieces = [
        *GOOD.splitlines(keepends=True),
        "[let.a]\n",
        'x = "$a"\n',
        "kind = 'Add'\n",
        "vector = [1.0]\n",
    ]
    pieces += [
        "strength = 1e400\n",
        "[[data]]\n",
        "texts = [[1], {}]\n",
        "count = nan\n",
        "a.b.c = 1979-05-27\n",
    ]
    outcomes = set()
    for _ in range(10_000):
        text = (
            "".join(draw.choice(pieces) for _ in range(draw.randrange(12))) if draw.random() < 0.6 else GOOD
        )
        for _ in range(draw.randrange(4)):
            at = draw.randrange(len(text) + 1)
            text = text[:at] + draw.choice(string.printable) + text[at + draw.randrange(3) :]
        try:
            Recipe.parse(text)
            outcomes.add("read")
        except SteerlabError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_lines_are_found_for_keys_and_headers():
    text = 'a = 1\n[b]\nc = 2\n[let."x y"]\nd.e = 3\n'
    assert line_of(text, ["a"]) == 1 and line_of(text, ["b"]) == 2 and line_of(text, ["b", "c"]) == 3
    assert line_of(text, ["let", "x y", "d", "e"]) == 5 and line_of(text, ["b", "missing"]) == 2
    assert line_of(text, ["nowhere"]) is None
