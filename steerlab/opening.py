"""From a name to a trained dictionary: embedded ones, local files and folders, hub ids."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.formats import read_dictionary
from steerlab.errors import SteerlabError
from steerlab.sites import Site


def load_dictionary(
    name: str | Path, *, site: str | Site | None = None, format: str | None = None, **options: Any
) -> Dictionary:
    """Open a trained sparse dictionary; its file format is recognised, and nothing in it is run.

    Parameters
    ----------
    name : str or Path
        A file or folder, ``"zoo:<model>/<site>"`` for one that steerlab brings, or a hub id with the folder
        inside: ``"owner/repository/layer_20/width_16k/average_l0_71"``.
    site : str or Site, optional
        The site it explains, where the file does not say so, or says so in another model's words.
    format : str, optional
        Which format it is in (see ``steerlab list``); recognised by default.
    **options
        What a format cannot store and a user may add; an unknown one is an error that names the known ones.

    Returns
    -------
    Dictionary
        Frozen, in float32 on the CPU.
    """
    if not isinstance(name, (str, Path)):
        raise SteerlabError(f"load_dictionary takes a file, folder or name, not {type(name).__name__}")
    text = str(name)
    if text.startswith("zoo:"):
        found = importlib.import_module("steerlab.zoo.dictionaries").load(text.removeprefix("zoo:"))
    else:
        path = Path(name)
        found = read_dictionary(path if path.exists() else _from_hub(text), format, options)
    if site is None:
        return found
    return dataclasses.replace(found, facts=dataclasses.replace(found.facts, site=str(Site.parse(site))))


def _from_hub(name: str) -> Path:
    """The folder of a hub id; only the files inside the folder that is named are fetched."""
    parts = name.split("/")
    if len(parts) < 2 or name.startswith((".", "/", "~")) or any(not part for part in parts):
        raise SteerlabError(f"{name}: no such file or folder, and not a hub id (owner/repository/folder)")
    hub = importlib.import_module("huggingface_hub")
    repository, inner = "/".join(parts[:2]), "/".join(parts[2:])
    try:
        root = hub.snapshot_download(repository, allow_patterns=[f"{inner}/*", inner] if inner else None)
    except Exception as fault:  # no network, no such repository, no right to it: the hub's words say which
        reason = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        raise SteerlabError(
            f"{name!r} is neither a file or folder here nor a hub id that can be reached ({reason})"
        ) from fault
    path = Path(root) / inner
    if not path.exists():
        raise SteerlabError(f"{repository} has no folder {inner!r}")
    return path
