"""`.steer` folders: interventions saved as JSON and safetensors, loaded without running anything."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import steerlab
from steerlab.bases.curved import Curved
from steerlab.bases.formats.files import Source
from steerlab.bases.formats.own import KINDS as DICTIONARIES
from steerlab.bases.fourier import FourierCode
from steerlab.bases.hearing import Heard
from steerlab.bases.linear import Direction, Subspace
from steerlab.bases.manifold import Manifold
from steerlab.bases.part import Part
from steerlab.bases.temporal import TemporalFeaturizer, TemporalPart
from steerlab.edits import EDITS, Scoped
from steerlab.errors import SteerlabError, nearest
from steerlab.fingerprint import Fingerprint, fingerprint
from steerlab.intervention import Changes, Intervention, listed
from steerlab.model import Model
from steerlab.rewiring import Rewired, Wiring
from steerlab.scope import Scope
from steerlab.steps import Ramp
from steerlab.surrogates import BlockSizes, Distilling, Surrogate
from steerlab.trees import built, written

JSON, TENSORS, VERSION = "steer.json", "steer.safetensors", 1
KEYS = (
    "format",
    "version",
    "made_with",
    "about",
    "licence",
    "provenance",
    "model",
    "sha256",
    "interventions",
)


def kinds() -> dict[str, type]:
    """Every class that a file may hold; edits of plug-ins and notebooks are among them."""
    coordinates = (Direction, Subspace, Part, Heard, Manifold, Curved, FourierCode)
    bases = {kind.__name__: kind for kind in (*coordinates, TemporalFeaturizer, TemporalPart)}
    values = {kind.__name__: kind for kind in (Scoped, Scope, Ramp)}
    wirings = {kind.__name__: kind for kind in (Wiring, Surrogate, BlockSizes, Distilling)}
    return {**DICTIONARIES, **bases, **values, **wirings, **{name: EDITS[name] for name in EDITS}}


def save_intervention(
    intervention: Changes | Rewired,
    folder: str | Path,
    *,
    model: Model | None = None,
    about: str = "",
    licence: str | None = None,
) -> Path:
    """Write an intervention to a ``.steer`` folder.

    Parameters
    ----------
    intervention : dict, Intervention, Wiring or Surrogate
        Sites and edits; or blocks in another order, or shared ones in their place, for `steerlab.rewired`.
        Functions (`Fn`, conditions that are code) cannot be saved.
    folder : str or Path
        Where; ``.steer`` is added where it is missing.
    model : Model, optional
        The model it was made on, others of which will refuse it; an `Intervention` may know it already.
    about, licence : str, optional
        A sentence, and the terms; those of the intervention by default.

    Returns
    -------
    Path
        The folder.
    """
    known = isinstance(intervention, (Intervention, Wiring, Surrogate))
    kept = intervention if known else Intervention(intervention)
    rewires = isinstance(kept, (Wiring, Surrogate))
    edits = None if rewires else {str(at): list(each) for at, each in listed(kept).items()}
    plain, tensors = written(kept if rewires else edits, kinds())
    if model is None and kept.fits is None:
        raise SteerlabError("say which model the intervention was made on: model=")
    sites = [f"{kept.at}.*.resid"] if rewires else edits
    mark = kept.fits if model is None else fingerprint(model._points, sites)
    content = {
        "format": "steer",
        "version": VERSION,
        "made_with": f"steerlab {steerlab.__version__}",
        "about": about or kept.about,
        "licence": licence or kept.licence,
        "provenance": dict(kept.provenance),
        "model": {"class": mark.model, "sites": mark.sites, "weights": mark.weights},
        "interventions": plain,
    }
    path = Path(folder)
    path = path if path.suffix == ".steer" else path.with_name(path.name + ".steer")
    own = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    try:
        json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as fault:
        raise SteerlabError(f"the provenance holds numbers and texts only: {fault}") from None
    path.mkdir(parents=True, exist_ok=True)
    save_file(own, path / (TENSORS + ".part"))
    content["sha256"] = Source(path).fingerprint(TENSORS + ".part")
    (path / (JSON + ".part")).write_text(json.dumps(content, indent=2), encoding="utf-8")
    for name in (TENSORS, JSON):
        (path / (name + ".part")).replace(path / name)
    return path


def made_on(model: Model, edits: Changes, about: str = "") -> Intervention:
    """The edits as an intervention that knows its model, ready to be saved anywhere."""
    return Intervention(edits, about=about, fits=fingerprint(model._points, listed(edits)))


def load_intervention(folder: str | Path) -> Intervention | Rewired:
    """Read a ``.steer`` folder; nothing in it is run, and a model that it does not fit refuses it."""
    source = Source(Path(folder))
    if not source.has(JSON, TENSORS):
        raise SteerlabError(f"{folder}: a .steer folder holds {JSON} and {TENSORS}, this has neither or one")
    content = source.json(JSON)
    if content.get("format") != "steer" or content.get("version") != VERSION:
        found = f"format {content.get('format')!r}, version {content.get('version')!r}"
        raise SteerlabError(f"{folder}: this steerlab reads format 'steer', version {VERSION}, not {found}")
    for key in content:
        if key not in KEYS:
            raise SteerlabError(f"{folder}: {JSON} has an unknown key {key!r}{nearest(key, KEYS)}")
    tensors = source.weights(TENSORS).tensors
    if content.get("sha256") != source.fingerprint(TENSORS):
        raise SteerlabError(f"{folder}: {TENSORS} is not the file that {JSON} was written with")
    made = built(content.get("interventions"), tensors, kinds(), str(folder))
    facts = {
        "about": str(content.get("about") or ""),
        "licence": content.get("licence"),
        "provenance": content.get("provenance") or {},
        "fits": _fits(content.get("model"), folder),
    }
    if isinstance(made, (Wiring, Surrogate)):
        return dataclasses.replace(made, **facts)
    if not isinstance(made, dict):
        raise SteerlabError(f"{folder}: {JSON} holds no interventions by site")
    return Intervention(made, **facts)


def _fits(plain: Any, folder: str | Path) -> Fingerprint:
    try:
        sites = {str(at): tuple(int(n) for n in sizes) for at, sizes in plain["sites"].items()}
        weights = {str(name): float(value) for name, value in plain["weights"].items()}
        return Fingerprint(str(plain["class"]), sites, weights)
    except (TypeError, KeyError, ValueError, AttributeError):
        raise SteerlabError(f"{folder}: {JSON} does not say which model it was made on") from None
