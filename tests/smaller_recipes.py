"""Recipes on smaller data and settings, which take seconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import steerlab as sl
from steerlab.inputs import Captioned, Clips, Curves, Scenes, Texts
from steerlab.made import Later
from steerlab.recipe import Recipe
from steerlab.surrogates import Distilling

RECIPES = Path(sl.__file__).parent.parent / "recipes"
FEW = {"strengths": [0.2], "controls": 1, "new_tokens": 2}
COOKING = {
    "contexts": ["Tomorrow they want to"],
    "toward": [" cook a delicious meal."],
    "away": [" listen to the band."],
    "top": 3,
}
PROSE = Texts(["The first bridge was built of wood."])
SINKING = Texts(
    [
        "Bread needs four things: flour, water, salt and time. The baker mixes them in the evening; by "
        "morning the dough has risen, and soon it is sold.",
        "A river does not flow in a straight line for long. Wherever the current is faster, it takes soil "
        "from the bank and leaves it behind the next bend.",
    ]
)
ORDERED = Texts(["{x-3}, {x-2}, {x-1}, {x}, {x+1}", "The shop is open in {x-1}, {x} and {x+1}"])
WAYS = {"waypoints": 3, "base": 2, "pairs": 2, "modes": ["manifold", "linear_subspace"]}
SHARED = Distilling(
    batch=4, steps=6, steps_together=4, lr=3e-3, warmup=1, layer_scale=0.1, relative=True, hidden=32
)

# recipe -> smaller data, smaller settings, and the numbers of the findings that exceed their controls
SMALLER = {
    "quickstart": (Scenes(6), {"controls": 2}, [0]),
    "llm/head_ablation": (
        Texts(["The capital of France is"]),
        {"at": "blocks.0.heads", "controls": 2},
        [0],
    ),
    "llm/contrastive_vector": (PROSE, {"contexts": ["She read the letter and felt"], **FEW}, [0]),
    "llm/steer_with_an_atom": (PROSE, COOKING | FEW, [0, 2]),
    "llm/cyclic": (
        Texts(["2 + 3 = 5\n3 + 6 = 9\n"]),
        {"second": ["0", "1"], "acted": 2, "targets": 3, "turns": [1], "controls": 1},
        [2, 3, 4],
    ),
    "diffusion/edit_a_picture": (
        Texts(["a large red square in the center", "a large red star in the center"]),
        {"seeds": [0], "controls": 1},
        [0],
    ),
    "diffusion/hue_ring": (
        Texts(["a large {value} star in the center"]),
        {"seeds": [0], "waypoints": 4, "steps": 5},
        [0, 2],
    ),
    "vision/patch_maps": (Scenes(4, 12), {"controls": 3}, [1]),
    "vision/registers": (Scenes(8, 3), {"measured": 8, "controls": 1}, [0]),
    "vision/similarity": (
        Scenes(48, 3),
        {"at": ["blocks.0.resid", "blocks.5.resid"], "atoms": 64},
        [0, 1, 2, 3],
    ),
    "vision/radius": (Scenes(8, 3), {"radii": [0, 2, 4], "controls": 1}, [0]),
    "vision/factors": (
        Scenes(24, 3),
        {"at": "blocks.2.q", "chunks": 4, "probed": 6, "causal": 2, "controls": 2, "shown": 1},
        [0, 1, 3, 4],
    ),
    "vision/phases": (
        Scenes(12, 3),
        {"nulls": 3, "draws": 1, "sizes": [0.1], "controls": 1, "batch": 4, "probed": 4, "surrogate": SHARED},
        [4, 9],
    ),
    "vision/curve_block": (
        Curves(16, 0, 224),
        {"known": Curves(16, 0, 224), "steps": 120, "rows": 400, "steered": 2},
        [0, 1],
    ),
    "vision/sinks": (Scenes(24, 3), {"events": 4, "top": 2}, [0]),
    "llm/weekdays": (ORDERED, WAYS, [0, 1]),
    "llm/concept_manifold": (
        Texts(["The meeting is on {}", "It rained all of {}", "We will see each other next {}"]),
        {
            "values": ["Monday", "Friday", "Sunday"],
            **{"atoms": 96, "k": 4, "steps": 60, "most": 24, "acted": 3, "controls": 1},
        },
        [2, 3, 4],
    ),
    "llm/months": (ORDERED, WAYS, [0]),
    "llm/sinks": (SINKING, {"at": "blocks.17:21.pattern", "acted": 1, "controls": 1}, [2]),
    "video/attention_maps": (Clips(4), {}, [0, 1]),
    "clip/close_the_gap": (
        Captioned(256),
        {"held": 64, "among": 64, "controls": 1, "atoms": 48, "k": 8, "steps": 120},
        [0, 2],
    ),
    "clip/composed_retrieval": (
        Captioned(560),
        {"gallery": 240, "controls": 1, "atoms": 48, "k": 6, "steps": 60},
        [0],
    ),
}


def smaller(name: str) -> Recipe:
    recipe, (data, settings, _) = Recipe.load(RECIPES / f"{name}.toml"), SMALLER[name]
    if isinstance(recipe.analyzer, Later):
        asked = Later(recipe.analyzer.kind, {**recipe.analyzer.arguments, **settings})
    else:
        asked = dataclasses.replace(recipe.analyzer, **settings)
    return dataclasses.replace(recipe, data=data, analyzer=asked)
