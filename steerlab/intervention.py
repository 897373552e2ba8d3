"""An intervention: a plain dict from sites to edits, read and checked once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from steerlab.edits import Edit, Scoped
from steerlab.edits.base import bases_of
from steerlab.errors import SteerlabError, SteerlabWarning
from steerlab.fingerprint import Fingerprint
from steerlab.points import Point, Points
from steerlab.scope import Scope
from steerlab.sites import Site

Change = Edit | Scoped
Changes = Mapping[str | Site, Change | Iterable[Change]]
Placed = tuple[Site, Point, Scoped]


class Intervention(Mapping):
    """Sites and edits that know what they are and which model they fit; a plain dict does as well.

    Parameters
    ----------
    edits : mapping
        Sites and their edits.
    about : str
        What it does, in a sentence.
    licence : str, optional
        Under which others may use it.
    provenance : dict
        Where it comes from: data, seeds, versions; numbers and texts.
    fits : Fingerprint, optional
        The model it was made on; others are refused. `steerlab.save_intervention` puts it in.
    """

    def __init__(
        self,
        edits: Changes,
        *,
        about: str = "",
        licence: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        fits: Fingerprint | None = None,
    ) -> None:
        self.edits = listed(edits)
        self.about, self.licence, self.fits = about, licence, fits
        self.provenance = dict(provenance or {})

    def __getitem__(self, at: str | Site) -> list[Change]:
        return self.edits[at]

    def __iter__(self):
        return iter(self.edits)

    def __len__(self) -> int:
        return len(self.edits)

    def __repr__(self) -> str:
        lines = [f"  {at}: {edit!r}" for at, edits in self.edits.items() for edit in edits]
        return "\n".join([f"Intervention: {self.about or 'no description'}", *lines])


def placed(intervention: Changes, points: Points) -> list[Placed]:
    """Every concrete site of an intervention with its point and edit, in the order given."""
    if isinstance(intervention, Intervention) and intervention.fits is not None:
        intervention.fits.check(points)
    return [
        (site, point, _checked(site, point, edit))
        for at, edits in listed(intervention).items()
        for site, point in points.find(at)
        for edit in edits
    ]


def listed(intervention: Changes) -> dict[str | Site, list[Change]]:
    """The intervention with a list of edits at each of its sites."""
    if not isinstance(intervention, Mapping):
        how = getattr(intervention, "applied_by", None)  # what exchanges blocks says how it is applied
        if how is not None:
            raise SteerlabError(f"a {type(intervention).__name__} exchanges blocks; write {how}")
        raise SteerlabError(
            f"an intervention is a dict of sites and edits, such as {{'blocks.3.heads.7': Zero()}}, "
            f"not {type(intervention).__name__}"
        )
    if not intervention:
        raise SteerlabError("the intervention is empty: name at least one site and its edit")
    return {at: _as_list(at, edits) for at, edits in intervention.items()}


def _as_list(at: str | Site, edits: Any) -> list[Change]:
    many = list(edits) if isinstance(edits, (list, tuple)) and edits else [edits]
    for edit in many:
        if isinstance(edit, type):
            raise SteerlabError(f"{at}: {edit.__name__} is a class; did you mean {edit.__name__}(...)?")
        if not isinstance(edit, (Edit, Scoped)):
            raise SteerlabError(f"{at}: {edit!r} is not an edit or a list of edits")
    return many


def _checked(site: Site, point: Point, edit: Change) -> Scoped:
    if isinstance(edit, Edit):
        edit = Scoped(edit, Scope())
    streams = edit.edit.streams
    if streams and site.stream not in streams:
        where = " or ".join(str(Site(site.place, stream, site.heads)) for stream in streams)
        raise SteerlabError(f"{site}: {edit.edit!r} edits {' or '.join(streams)}; put it at {where}")
    _refuse_compiled(site, point)
    _warn_elsewhere(site, edit.edit)
    return edit


def _warn_elsewhere(site: Site, edit: Edit) -> None:
    """Say that codes mean nothing away from the site where a dictionary was trained."""
    for basis in [] if edit.changes_nothing else bases_of(edit):
        if basis.site is not None and not basis.site.same_as(site):
            warnings.warn(
                f"{site}: {basis!r} was trained at {basis.site}, where its codes have their meaning; "
                "steerlab.atoms.check_site measures how well it fits a site",
                SteerlabWarning,
                stacklevel=2,
            )


def _refuse_compiled(site: Site, point: Point) -> None:
    for module in point.above:
        if module._compiled_call_impl is not None or type(module).__name__ == "OptimizedModule":
            raise SteerlabError(
                f"{site}: {type(point.module).__name__} is inside a compiled module, where torch silently "
                "skips new hooks; use the model as it was before torch.compile"
            )


def refuse_compiled(found: Iterable[tuple[Site, Point]]) -> None:
    """Refuse sites inside compiled modules, whose hooks torch would skip in silence."""
    for site, point in found:
        _refuse_compiled(site, point)
