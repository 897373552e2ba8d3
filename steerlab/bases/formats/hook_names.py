"""Where others say a dictionary was trained: names of hooks and folders, as sites."""

from __future__ import annotations

import re
from pathlib import Path

from steerlab.errors import SteerlabError
from steerlab.sites import Site

# What follows ``...layers.N.`` in the names of transformers' modules, and the stream it is.
_STREAMS = {
    "output": "resid",
    "self_attn.o_proj.input": "heads",
    "post_attention_layernorm.output": "attn",
    "post_feedforward_layernorm.output": "mlp",
}
# An RMSNorm's output before its gain, as TransformerLens names it.
BEFORE_GAIN = re.compile(r"blocks\.(\d+)\.ln2\.hook_normalized")


def module_site(hook: str) -> str | None:
    """The site of ``model.layers.3.output`` and the like: a stream of a block, else a module's own site.

    The streams of the table hold for models that normalise again after each sublayer, as Gemma 2 and 3 do.
    """
    found = re.fullmatch(r"(?:.*\.)?layers\.(\d+)\.(.+)", hook)
    if found and found[2] in _STREAMS:
        return f"blocks.{found[1]}.{_STREAMS[found[2]]}"
    path, _, side = hook.rpartition(".")
    if not path or side not in ("input", "output"):
        return None
    return f"module:{path}" if side == "output" else f"module:{path}:input"


def lens_site(hook: str) -> str | None:
    """The site of a TransformerLens hook, ``blocks.3.hook_resid_post``; None for hooks that have none."""
    try:
        return str(Site.parse(hook))
    except SteerlabError:
        return None


def folders(path: Path) -> str:
    """The folders above a dictionary and its own name, with slashes, for what they say of it."""
    return path.absolute().as_posix()


def said(pattern: str, path: Path) -> str | None:
    """The last thing that the group of `pattern` matches in the names of folders and file."""
    found = re.findall(pattern, folders(path))
    return found[-1] if found else None
