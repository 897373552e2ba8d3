"""Steering to a value of a concept at several sites at once, each along its own manifold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from steerlab.bases.manifold import Manifold, Place
from steerlab.edits.base import Edit, Scoped
from steerlab.edits.replace import Replace
from steerlab.edits.toward import Toward
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.tokens import TokenChoice

# name: the edit of a manifold, a value on it, and how much of the way
HOW: dict[str, Callable[[Manifold, Place, float], Edit]] = {
    "replace": lambda manifold, value, _: Replace(manifold.point(value), manifold.subspace),
    "toward": lambda manifold, value, amount: Toward(manifold, manifold.place(value), amount),
}


def to_value(
    manifolds: Mapping[str, Manifold] | Sequence[Manifold] | Manifold,
    value: Place,
    *,
    how: str = "replace",
    amount: float = 1.0,
    tokens: TokenChoice | None = None,
) -> dict[str, Edit | Scoped]:
    """Edits that bring activations to a value, one a site.

    Parameters
    ----------
    manifolds : mapping, sequence or Manifold
        Site -> the manifold that was fitted there, all of the same concept; or manifolds that know their
        sites.
    value : str, int, float or Tensor
        By its name or number; each manifold has its own place for it. Floats are coordinates.
    how : str
        ``"replace"`` writes the value's point into the components (the steering of arXiv 2605.05115),
        ``"toward"`` moves along the manifold from the activation's own place and keeps what is off it (our
        own).
    amount : float
        For ``"toward"``: how much of the way; beyond 1 it goes past the value.
    tokens : as for `Scope`, optional
        Which tokens. While a model generates, ``"last"`` is every step, ``[-1]`` the first step alone, and
        ``"generated[2:]"`` those that read the third new token and later ones; `begin` of
        `Model.generate` leaves the first steps as they are.

    Returns
    -------
    dict
        Ready for `Model.edit`, `Model.generate` and `save_intervention`.
    """
    if how not in HOW:
        raise SteerlabError(f"how={how!r}{nearest(how, HOW)} (known: {listing(HOW)})")
    if how == "replace" and amount != 1:
        raise SteerlabError("a value is replaced wholly; how='toward' takes an amount")
    edits: dict[str, Edit | Scoped] = {}
    for at, manifold in _by_site(manifolds).items():
        edit = HOW[how](manifold, value, amount)
        edits[at] = edit if tokens is None else edit.on(tokens=tokens)
    return edits


def _by_site(manifolds: Mapping[str, Manifold] | Sequence[Manifold] | Manifold) -> dict[str, Manifold]:
    if isinstance(manifolds, Mapping):
        found = {str(at): manifold for at, manifold in manifolds.items()}
    else:
        given = [manifolds] if isinstance(manifolds, Manifold) else list(manifolds)
        if any(isinstance(one, Manifold) and one.site is None for one in given):
            raise SteerlabError("a manifold does not know its site: give {site: manifold}")
        found = {str(one.site): one for one in given if isinstance(one, Manifold)}
        if len(found) < len(given):
            raise SteerlabError("manifolds of different sites are needed, one each: give {site: manifold}")
    for at, manifold in found.items():
        if not isinstance(manifold, Manifold):
            raise SteerlabError(f"{at}: a manifold is needed, not {type(manifold).__name__}")
    if not found:
        raise SteerlabError("no manifold to steer along")
    return found
