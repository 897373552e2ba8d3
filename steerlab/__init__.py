"""steerlab opens a pretrained model, reads any activation, changes it, and proves what the change did."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Names are imported on first use, so that `import steerlab` costs next to nothing.
_HOMES = {
    "steerlab.activations": ("Activations",),
    "steerlab.attending": ("attend", "attending"),
    "steerlab.bases": (
        *("PCA", "Basis", "Block", "BlockView", "Curved", "Debiased", "Dictionary", "Direction", "Facts"),
        *("Fista", "FourierCode", "Manifold", "Pursuit", "Shape", "Subspace", "TemporalFeaturizer"),
        *("behaviour_metric", "density_metric", "fit_manifold", "fourier_probes"),
        *("geodesic_path", "wrong_order"),
    ),
    "steerlab.bases.formats": ("load_temporal",),
    "steerlab.bases.probing": ("Probe", "probe"),
    "steerlab.budget": ("Budget", "within_budget"),
    "steerlab.comparing": ("Comparison",),
    "steerlab.control_vectors": ("read_control_vector", "write_control_vector"),
    "steerlab.edits": (
        *("Add", "Affine", "Chain", "Clamp", "Edit", "Fn", "Gate", "Listen", "LowRank", "Mask", "Mean"),
        *("MeanField", "Move", "Project", "RandomControl", "Recombine", "Remove", "Replace", "Rotate"),
        *("Scale", "Shorten", "Swap", "ToNumber", "ToPrototype", "ToToken", "Toward", "Where", "Window"),
        *("Zero", "across", "to_value"),
    ),
    "steerlab.errors": ("SteerlabError", "SteerlabWarning"),
    "steerlab.fitting": ("Fitting", "TemporalFitting", "fit_coupled", "fit_dictionary", "fit_temporal"),
    "steerlab.generating": ("Generated",),
    "steerlab.intervention": ("Intervention",),
    "steerlab.keeping": ("kept",),
    "steerlab.loading": ("load",),
    "steerlab.looks": ("Looks",),
    "steerlab.model": ("Model",),
    "steerlab.opening": ("load_dictionary",),
    "steerlab.recipe": ("Recipe",),
    "steerlab.report": ("Evidence", "Plot", "Report"),
    "steerlab.rewiring": ("Wiring", "rewired", "wired"),
    "steerlab.scope": ("Scope",),
    "steerlab.sites": ("Site",),
    "steerlab.prompt_attention": ("PromptMaps", "prompt_maps"),
    "steerlab.steps": ("Ramp",),
    "steerlab.store": ("load_intervention", "save_intervention"),
    "steerlab.surrogates": ("Distilling", "Surrogate", "fit_surrogate"),
    "steerlab.tokens": ("TokenMap",),
    "steerlab.wrapping": ("wrap",),
}
_MODULES = ("analyzers", "atoms", "families", "figures", "inputs", "metrics")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "PCA",
    "Activations",
    "Add",
    "Affine",
    "Basis",
    "Block",
    "BlockView",
    "Budget",
    "Chain",
    "Clamp",
    "Comparison",
    "Curved",
    "Debiased",
    "Dictionary",
    "Direction",
    "Distilling",
    "Edit",
    "Evidence",
    "Facts",
    "Fista",
    "Fitting",
    "Fn",
    "FourierCode",
    "Gate",
    "Generated",
    "Intervention",
    "Listen",
    "Looks",
    "LowRank",
    "Manifold",
    "Mask",
    "Mean",
    "MeanField",
    "Model",
    "Move",
    "Plot",
    "Probe",
    "Project",
    "PromptMaps",
    "Pursuit",
    "Ramp",
    "RandomControl",
    "Recipe",
    "Recombine",
    "Remove",
    "Replace",
    "Report",
    "Rotate",
    "Scale",
    "Scope",
    "Shape",
    "Shorten",
    "Site",
    "SteerlabError",
    "SteerlabWarning",
    "Subspace",
    "Surrogate",
    "Swap",
    "TemporalFeaturizer",
    "TemporalFitting",
    "ToNumber",
    "ToPrototype",
    "ToToken",
    "TokenMap",
    "Toward",
    "Where",
    "Window",
    "Wiring",
    "Zero",
    "across",
    "analyzers",
    "atoms",
    "attend",
    "attending",
    "behaviour_metric",
    "density_metric",
    "families",
    "figures",
    "fit_coupled",
    "fit_dictionary",
    "fit_manifold",
    "fit_surrogate",
    "fit_temporal",
    "fourier_probes",
    "geodesic_path",
    "inputs",
    "kept",
    "load",
    "load_dictionary",
    "load_intervention",
    "load_temporal",
    "metrics",
    "probe",
    "prompt_maps",
    "read_control_vector",
    "rewired",
    "save_intervention",
    "to_value",
    "wired",
    "within_budget",
    "wrap",
    "write_control_vector",
    "wrong_order",
]

if TYPE_CHECKING:
    from steerlab import analyzers, atoms, families, figures, inputs, metrics
    from steerlab.activations import Activations
    from steerlab.attending import attend, attending
    from steerlab.bases import (
        PCA,
        Basis,
        Block,
        BlockView,
        Curved,
        Debiased,
        Dictionary,
        Direction,
        Facts,
        Fista,
        FourierCode,
        Manifold,
        Pursuit,
        Shape,
        Subspace,
        TemporalFeaturizer,
        behaviour_metric,
        density_metric,
        fit_manifold,
        fourier_probes,
        geodesic_path,
        wrong_order,
    )
    from steerlab.bases.formats import load_temporal
    from steerlab.bases.probing import Probe, probe
    from steerlab.budget import Budget, within_budget
    from steerlab.comparing import Comparison
    from steerlab.control_vectors import read_control_vector, write_control_vector
    from steerlab.edits import (
        Add,
        Affine,
        Chain,
        Clamp,
        Edit,
        Fn,
        Gate,
        Listen,
        LowRank,
        Mask,
        Mean,
        MeanField,
        Move,
        Project,
        RandomControl,
        Recombine,
        Remove,
        Replace,
        Rotate,
        Scale,
        Shorten,
        Swap,
        ToNumber,
        ToPrototype,
        ToToken,
        Toward,
        Where,
        Window,
        Zero,
        across,
        to_value,
    )
    from steerlab.errors import SteerlabError, SteerlabWarning
    from steerlab.fitting import Fitting, TemporalFitting, fit_coupled, fit_dictionary, fit_temporal
    from steerlab.generating import Generated
    from steerlab.intervention import Intervention
    from steerlab.keeping import kept
    from steerlab.loading import load
    from steerlab.looks import Looks
    from steerlab.model import Model
    from steerlab.opening import load_dictionary
    from steerlab.prompt_attention import PromptMaps, prompt_maps
    from steerlab.recipe import Recipe
    from steerlab.report import Evidence, Plot, Report
    from steerlab.rewiring import Wiring, rewired, wired
    from steerlab.scope import Scope
    from steerlab.sites import Site
    from steerlab.steps import Ramp
    from steerlab.store import load_intervention, save_intervention
    from steerlab.surrogates import Distilling, Surrogate, fit_surrogate
    from steerlab.tokens import TokenMap
    from steerlab.wrapping import wrap


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"steerlab.{name}")
    else:
        from steerlab.errors import nearest

        raise AttributeError(f"steerlab has no {name!r}{nearest(name, __all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
