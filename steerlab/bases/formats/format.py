"""What a file format of dictionaries is, and the registry that recognises them without being told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.formats.files import Source
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.registry import Registry


@dataclass(frozen=True)
class Format:
    """A way in which dictionaries lie on disk.

    Parameters
    ----------
    name : str
        What users write for ``format=``.
    about : str
        One line: whose format, which files.
    recognises : callable
        ``Source -> bool``; looks at names and keys, and never fails.
    read : callable
        ``(Source, options) -> Dictionary``.
    options : tuple of str
        What the files do not say and a user may add.
    """

    name: str
    about: str
    recognises: Callable[[Source], bool]
    read: Callable[[Source, Mapping[str, Any]], Dictionary]
    options: tuple[str, ...] = ()


FORMATS: Registry[Format] = Registry("dictionary format", "steerlab.dictionaries")


def register(
    name: str,
    about: str,
    recognises: Callable[[Source], bool],
    read: Callable[[Source, Mapping[str, Any]], Dictionary],
    *,
    options: tuple[str, ...] = (),
) -> Format:
    """Add a format to the registry."""
    return FORMATS.add(name, Format(name, about, recognises, read, options))


def read_dictionary(path: Path, format: str | None, options: Mapping[str, Any]) -> Dictionary:
    """The dictionary at `path`, in the format that recognises it or the one that is named."""
    source = Source(path)
    chosen = FORMATS[format] if format is not None else recognised(source)
    for option in options:
        if option not in chosen.options:
            known = f" (known: {listing(chosen.options)})" if chosen.options else ": it has none"
            raise SteerlabError(
                f"{option!r} is not an option of the format {chosen.name!r}"
                f"{nearest(option, chosen.options)}{known}"
            )
    return chosen.read(source, options)


def recognised(source: Source) -> Format:
    """The one format that recognises the files."""
    found = [format for format in FORMATS.values() if format.recognises(source)]
    if len(found) == 1:
        return found[0]
    if found:
        names = listing([format.name for format in found])
        raise SteerlabError(f"{source.shown} may be any of {names}; say which with format=")
    raise SteerlabError(_unrecognised(source))


def _unrecognised(source: Source) -> str:
    known = f"known formats: {listing(sorted(FORMATS), 40)}"
    if source.path.is_dir():
        inner = [p for p in sorted(source.path.rglob("*")) if p.is_dir()][:200]
        holding = [p for p in inner if any(f.recognises(Source(p)) for f in FORMATS.values())]
        if holding:
            names = listing([str(p.relative_to(source.path)) for p in holding], 8)
            return f"{source.shown} holds several dictionaries; name one of its folders: {names}"
    for name in source.names:  # a broken file is the likeliest reason: let it speak
        if name.endswith((".safetensors", ".npz", ".pt", ".pth")):
            source.weights(name)
    files = listing(source.names, 8) if source.names else "no files"
    return f"{source.shown} is in no format that is known ({files}); {known}"
