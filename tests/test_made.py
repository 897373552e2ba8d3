"""What a recipe opens of a manifold: the points, places and shifts of its values, by their names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

import steerlab as sl
from steerlab.analyzers import Analyzer
from steerlab.bases import Shape, fit_manifold
from steerlab.edits import Move, Toward, to_value
from steerlab.errors import SteerlabError
from steerlab.made import OnManifold, opened
from steerlab.recipe import Recipe
from steerlab.report import Report

SITE, OTHER = "blocks.0.resid", "blocks.1.resid"
TEXT = """
model = "zoo:shapes-vit"
[data]
kind = "Scenes"
[let.week]
kind = "LoadManifold"
path = "week.steer"
at = "blocks.0.resid"
[let.high]
kind = "OnManifold"
manifold = "$week"
what = "point"
value = "high"
[analyzer]
kind = "Steering"
[analyzer.edit]
"blocks.0.resid" = { kind = "Replace", value = "$high", basis = "$inside" }
"blocks.1.resid" = { kind = "Toward", manifold = "$week", place = "$middle", amount = 0.5 }
"blocks.2.resid" = { kind = "Move", basis = "$week", by = "$up" }
[let.inside]
kind = "OnManifold"
manifold = "$week"
what = "subspace"
[let.middle]
kind = "OnManifold"
manifold = "$week"
what = "place"
value = 1
[let.up]
kind = "OnManifold"
manifold = "$week"
what = "shift"
start = "low"
value = "high"
"""


@dataclasses.dataclass(frozen=True)
class Steering(Analyzer):
    """An analyzer that applies what it is given."""

    edit: object = None

    def __call__(self, model, data) -> Report:
        """The class token under the edit."""
        with model.edit(self.edit) as receipt:
            seen = model.capture(data, at=[SITE, "blocks.2.resid"])[SITE]
        return Report("x", tables={"t": {"cls": seen[:, 0]}}, receipts=(str(receipt),))


@pytest.fixture(scope="module")
def fits():
    """Manifolds of two sites of the vision model."""
    vit = sl.load("zoo:shapes-vit")
    found = vit.capture(sl.inputs.Scenes(9).load(Path()), at=[SITE, OTHER])
    shape = Shape("ordinal", names=("low", "middle", "high"))
    labels = torch.arange(9) // 3
    return {at: fit_manifold(found[at][:, 0], labels, shape=shape, pca=4) for at in (SITE, OTHER)}, vit


def test_a_recipe_steers_along_a_saved_manifold_by_the_names_of_values(fits, tmp_path):
    manifolds, vit = fits
    week = manifolds[SITE]
    sl.save_intervention({at: Move(man, 0.0) for at, man in manifolds.items()}, tmp_path / "week", model=vit)
    recipe = Recipe.parse(TEXT, folder=tmp_path)
    made = opened(recipe.analyzer, tmp_path)
    edits = made.edit
    torch.testing.assert_close(edits[SITE].value, week.point("high"))
    assert torch.equal(edits[SITE].basis.atoms, week.subspace.atoms)
    assert torch.equal(edits[OTHER].place, week.place(1)) and edits[OTHER].amount == 0.5
    assert torch.equal(edits["blocks.2.resid"].by, week.shift("low", "high"))
    assert Recipe.parse(recipe.to_toml(), folder=tmp_path) == recipe
    report = recipe.run()
    with vit.edit(to_value({SITE: week}, "high")):
        wanted = vit.capture(recipe.data.load(tmp_path), at=SITE)[SITE][:, 0]
    torch.testing.assert_close(report.tables["t"]["cls"], wanted)


def test_a_folder_with_several_manifolds_or_none_says_so(fits, tmp_path):
    manifolds, vit = fits
    edits = {at: Toward(man, man.place(0)).on(tokens="cls") for at, man in manifolds.items()}
    sl.save_intervention(edits, tmp_path / "week", model=vit)
    sl.save_intervention({SITE: sl.Zero()}, tmp_path / "bare", model=vit)
    line = 'at = "blocks.0.resid"\n'
    cases = [
        (TEXT.replace(line, ""), "holds a manifold at blocks.0.resid, blocks.1.resid: say which"),
        (TEXT.replace(line, 'at = "blocks.3.resid"\n'), "has no manifold at 'blocks.3.resid'"),
        (TEXT.replace(line, "").replace("week.steer", "bare.steer"), "bare.steer holds no manifold"),
        (TEXT.replace('value = "high"\n', 'value = "hihg"\n', 1), "did you mean 'high'"),
    ]
    for text, says in cases:
        recipe = Recipe.parse(text, folder=tmp_path)
        with pytest.raises(SteerlabError, match=says):
            opened(recipe.analyzer, tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"what": "pointt", "value": 1}, "did you mean 'point'"),
        ({"what": "point"}, "a point needs a value"),
        ({"what": "shift", "value": 1}, "a shift needs a start"),
        ({"what": "subspace", "value": 1}, "a subspace takes no value"),
    ],
)
def test_what_is_asked_of_a_manifold_is_checked_when_the_recipe_is_read(options, says):
    with pytest.raises(SteerlabError, match=says):
        OnManifold("$week", **options)
