"""Sparse dictionaries of the embedded models, by name: ``smollm2/blocks.15.resid`` and others."""

from __future__ import annotations

from pathlib import Path

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.formats import read_dictionary
from steerlab.errors import SteerlabError, nearest

__all__ = ["WEIGHTS", "load", "names"]

WEIGHTS = Path(__file__).parent / "weights" / "dictionaries"
_END = ".safetensors"


def names() -> list[str]:
    """List the names that `load` knows: a model of the zoo and a site of it."""
    return sorted(str(path.relative_to(WEIGHTS)).removesuffix(_END) for path in WEIGHTS.rglob("*" + _END))


def load(name: str) -> Dictionary:
    """Load a dictionary of the zoo.

    Parameters
    ----------
    name : str
        One of `names`; the name of a model alone where it has one dictionary.

    Returns
    -------
    Dictionary
        In float32 (it is kept in float16), with the usual size of its codes in `stats`.
    """
    known = names()
    found = [name] if name in known else [one for one in known if one.split("/")[0] == name]
    if len(found) != 1:
        why = "names several dictionaries" if found else f"is no dictionary{nearest(name, known)}"
        raise SteerlabError(f"{name!r} {why} (the zoo has: {', '.join(known)})")
    return read_dictionary(WEIGHTS / (found[0] + _END), "steerlab", {})
