"""Control vectors of llama.cpp: one vector a block in a GGUF file, written from interventions and read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from steerlab.edits import Add, Edit, Scoped
from steerlab.errors import SteerlabError, listing
from steerlab.sites import Site

ARCHITECTURE = "controlvector"
HINT = f"{ARCHITECTURE}.model_hint"
COUNT = f"{ARCHITECTURE}.layer_count"
PREFIX = "direction."


def write_control_vector(
    directions: Mapping[int | str | Site, torch.Tensor | Edit | Scoped],
    file: str | Path,
    *,
    model_hint: str = "unknown",
) -> None:
    """Write vectors that llama.cpp adds to the outputs of blocks (``--control-vector``).

    ``direction.N`` is added to the output of block ``N``, counted from 0, at every token and with the factor
    1; so the file says what ``{"blocks.N.resid": Add(vector, strength)}`` says, its strength multiplied in.
    llama.cpp has no vector for block 0. The key ``controlvector.layer_count`` holds how many vectors there
    are, as repeng writes it; llama.cpp reads the vectors alone.

    Parameters
    ----------
    directions : mapping
        Block numbers, or sites ``blocks.N.resid``, to vectors ``[dim]`` or to an `Add` of one. Everything
        else an intervention may hold is refused: the file has no word for it.
    file : str or Path
        The GGUF file; replaced where it exists.
    model_hint : str
        llama.cpp's name of the architecture (``"llama"``, ``"qwen2"``).
    """
    gguf = _gguf()
    if not isinstance(directions, Mapping) or not directions:
        raise SteerlabError("give vectors by block, such as {5: vector} or {'blocks.5.resid': Add(vector)}")
    if not isinstance(model_hint, str) or not model_hint:
        raise SteerlabError(f"model_hint={model_hint!r}: give the model's architecture, such as 'llama'")
    vectors: dict[int, torch.Tensor] = {}
    for at, what in directions.items():
        block = _block(at)
        if block in vectors:
            raise SteerlabError(f"{at}: block {block} has two vectors; add them up first")
        vectors[block] = _vector(at, what)
    _one_width({f"block {block}": vector for block, vector in vectors.items()})
    file = Path(file)
    beside = file.with_name(file.name + ".part")
    writer = gguf.GGUFWriter(beside, ARCHITECTURE)
    writer.add_string(HINT, model_hint)
    writer.add_uint32(COUNT, len(vectors))
    for block in sorted(vectors):
        writer.add_tensor(f"{PREFIX}{block}", vectors[block].numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    beside.replace(file)


def read_control_vector(file: str | Path) -> dict[str, torch.Tensor]:
    """Vectors ``[dim]`` by site ``blocks.N.resid``, as llama.cpp and repeng add them with the factor 1.

    Parameters
    ----------
    file : str or Path
        A GGUF file of a control vector.

    Examples
    --------
    >>> vectors = read_control_vector("happy.gguf")
    >>> intervention = {site: Add(vector, 1.5) for site, vector in vectors.items()}
    """
    gguf = _gguf()
    file = Path(file)
    if not file.is_file():
        raise SteerlabError(f"{file}: no such file")
    try:
        reader = gguf.GGUFReader(file)
        field = reader.get_field("general.architecture")
        architecture = None if field is None else field.contents()
        tensors = [(t.name, t.tensor_type.name, torch.from_numpy(t.data.copy())) for t in reader.tensors]
    except Exception as fault:  # what a broken file raises depends on where it breaks
        what = f"{type(fault).__name__}: {fault}"
        raise SteerlabError(f"{file.name} is not a whole GGUF file: {what}") from None
    if architecture != ARCHITECTURE:
        raise SteerlabError(
            f"{file.name} is a GGUF file of the architecture {architecture!r}, not of {ARCHITECTURE!r}"
        )
    found = {}
    for name, kind, tensor in tensors:
        if not name.startswith(PREFIX):
            continue
        number = name.removeprefix(PREFIX)
        if not number.isdecimal() or int(number) == 0:
            raise SteerlabError(f"{file.name}: {name!r} is no direction of a block from 1 on")
        if kind != "F32" or tensor.ndim != 1:
            raise SteerlabError(
                f"{file.name}: {name} is {kind} of shape {list(tensor.shape)}; a direction is F32 and [dim]"
            )
        if not torch.isfinite(tensor).all():
            raise SteerlabError(f"{file.name}: {name} holds entries that are NaN or infinite")
        found[int(number)] = tensor
    if not found:
        names = listing([name for name, _, _ in tensors]) or "nothing"
        raise SteerlabError(f"{file.name} has no tensors {PREFIX}1, {PREFIX}2 and so on (it holds: {names})")
    _one_width({f"{file.name}: {PREFIX}{block}": vector for block, vector in found.items()})
    return {f"blocks.{block}.resid": found[block] for block in sorted(found)}


def _gguf() -> Any:
    try:
        import gguf
    except ImportError:
        raise SteerlabError(
            "the package 'gguf' is not installed: pip install gguf (it comes with steerlab[models])"
        ) from None
    return gguf


def _block(at: int | str | Site) -> int:
    """The number of a block, from 1 on."""
    if isinstance(at, int) and not isinstance(at, bool):
        block = at
    else:
        site = Site.parse(at)
        places = site.place.split(".")
        if site.stream != "resid" or len(places) != 2 or places[0] != "blocks" or not places[1].isdecimal():
            raise SteerlabError(
                f"{at}: a control vector acts on the output of one block; only sites such as "
                "'blocks.5.resid' can be written, one by one"
            )
        block = int(places[1])
    if block == 0:
        raise SteerlabError("block 0: llama.cpp has no vector for the first block; begin with block 1")
    if block < 0:
        raise SteerlabError(f"block {block}: count blocks from the first one; a file knows no last block")
    return block


def _vector(at: int | str | Site, what: Any) -> torch.Tensor:
    """What is added at a block, ``[dim]`` in float32."""
    if isinstance(what, (list, tuple)) and len(what) == 1:
        what = what[0]
    if isinstance(what, (list, tuple)) and any(isinstance(one, (Edit, Scoped)) for one in what):
        raise SteerlabError(f"{at}: {len(what)} edits; a control vector is one Add(vector, strength)")
    if isinstance(what, Scoped):
        if not what.scope.everything:
            raise SteerlabError(
                f"{at}: {what!r} acts on some entries only; a control vector is added at every token"
            )
        what = what.edit
    if isinstance(what, Edit):
        if type(what) is not Add:
            raise SteerlabError(
                f"{at}: {what!r} is not the addition of a vector, which is all a control vector does"
            )
        what = what.step
    if not isinstance(what, torch.Tensor) or not what.is_floating_point() or what.ndim != 1:
        shape = f" of shape {list(what.shape)}" if isinstance(what, torch.Tensor) else ""
        raise SteerlabError(f"{at}: give a floating vector [dim], not a {type(what).__name__}{shape}")
    vector = what.detach().to("cpu", torch.float32).contiguous()
    if not torch.isfinite(vector).all():
        raise SteerlabError(f"{at}: the vector holds entries that are NaN or infinite in float32")
    return vector


def _one_width(vectors: Mapping[str, torch.Tensor]) -> None:
    """Refuse vectors of several widths."""
    first, *others = vectors
    for name in others:
        if len(vectors[name]) != len(vectors[first]):
            raise SteerlabError(
                f"{name} has {len(vectors[name])} dimensions and {first} {len(vectors[first])}: "
                "one model has one width"
            )
