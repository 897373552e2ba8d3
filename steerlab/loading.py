"""From a name to a held model: embedded models, local folders and hub ids."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from steerlab.errors import SteerlabError, nearest
from steerlab.families import FAMILIES
from steerlab.model import Model
from steerlab.wrapping import wrap


def load(name: str, *, dtype: Any = "auto", device: str | None = None) -> Model:
    """Open a pretrained model with its tokenizer or image processor.

    Parameters
    ----------
    name : str
        ``"zoo:<name>"`` for a model that a package brings, ``"timm:<name>"``, a local folder, or a hub id
        of transformers or diffusers.
    dtype : torch.dtype or str
        As transformers takes it.
    device : str, optional
        Where to put the model; the CPU by default.

    Returns
    -------
    Model
        In evaluation mode.
    """
    if not isinstance(name, str):
        raise SteerlabError(f"load takes a name; for a model that you have, wrap({type(name).__name__}) it")
    kind, _, rest = name.partition(":")
    openers = {"zoo": _from_zoo, "timm": _from_timm}
    if rest and kind in openers:
        module, processor = openers[kind](rest)
    elif _is_pipeline(name):
        module, processor = _pipeline(name, dtype)
    else:
        module, processor = _from_transformers(name, dtype)
    if device is not None:
        module = module.to(device)
    return wrap(module, processor)


def _from_zoo(name: str) -> tuple[Any, Any]:
    brought = importlib.import_module("steerlab.zoo").load(name)
    return brought.model, brought.processor


def _from_timm(name: str) -> tuple[Any, Any]:
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise SteerlabError('timm models need timm: pip install "steerlab[test]" or timm') from None
    if not timm.is_model(name):
        raise SteerlabError(f"timm has no model {name!r}{nearest(name, timm.list_models())}")
    return timm.create_model(name, pretrained=True).eval(), None


def _is_pipeline(name: str) -> bool:
    if Path(name).is_dir():
        return (Path(name) / "model_index.json").is_file()
    hub = importlib.import_module("huggingface_hub")
    try:
        return hub.file_exists(name, "model_index.json")
    except Exception:  # without a network nothing is known here; the loader below gives the reason
        return False


def _pipeline(name: str, dtype: Any) -> tuple[Any, Any]:
    diffusers = importlib.import_module("diffusers")
    options = {} if dtype == "auto" else {"torch_dtype": dtype}
    return diffusers.DiffusionPipeline.from_pretrained(name, **options), None


def _from_transformers(name: str, dtype: Any) -> tuple[Any, Any]:
    transformers = importlib.import_module("transformers")
    try:
        config = transformers.AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as fault:
        reason = str(fault).splitlines()[0]
        raise SteerlabError(
            f"{name!r} is neither a folder with a model nor an id that can be reached ({reason}); "
            "embedded models are written zoo:<name>"
        ) from fault
    named = (config.architectures or [""])[0]
    family = next((f for f in FAMILIES.values() if config.model_type in f.types), None)
    opener = getattr(transformers, named, None) or transformers.AutoModel
    model = opener.from_pretrained(name, dtype=dtype).eval()
    return model, _processor(transformers, name, family)


def _processor(transformers: Any, name: str, family: Any) -> Any:
    """Tokenizer, image processor or both, whichever the folder has; text first for text families."""
    is_text = family is not None and family.prepare.__name__ == "text_inputs"
    openers = ["AutoTokenizer"] if is_text else ["AutoProcessor", "AutoImageProcessor", "AutoTokenizer"]
    for opener in openers:
        try:
            processor = getattr(transformers, opener).from_pretrained(name)
        except (OSError, ValueError, ImportError, KeyError):
            continue
        if is_text:
            processor.padding_side = "left"
            processor.pad_token = processor.pad_token or processor.eos_token
        return processor
    return None
