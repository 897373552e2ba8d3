"""Objects of other libraries that hold a model: nnsight's wrappers and compiled modules."""

from __future__ import annotations

from typing import Any

from torch import nn

from steerlab.errors import SteerlabError


def is_nnsight(model: Any) -> bool:
    """Whether this is nnsight's wrapper of a module, told without importing nnsight."""
    return any(
        cls.__name__ == "Envoy" and cls.__module__.partition(".")[0] == "nnsight"
        for cls in type(model).__mro__
    )


def unwrapped(model: Any, processor: Any) -> tuple[Any, Any]:
    """The torch module or pipeline inside a wrapper, and its tokenizer where the wrapper brings one."""
    if is_nnsight(model):
        module = vars(model)["_module"]
        if any(parameter.is_meta for parameter in module.parameters()):
            raise SteerlabError(
                f"this {type(model).__name__} has no weights yet; make it with dispatch=True to wrap it"
            )
        return module, processor if processor is not None else getattr(model, "tokenizer", None)
    if isinstance(model, nn.Module) and type(model).__name__ == "OptimizedModule":
        raise SteerlabError(
            "this module is compiled, and torch silently skips hooks that come after compilation; "
            "wrap the model as it was before torch.compile"
        )
    return model, processor


def runs_on(module: nn.Module) -> list[str]:
    """What changes how a module runs: compilation, quantisation, offload, the way attention is computed."""
    facts = []
    compiled = [
        name or "the model" for name, m in module.named_modules() if m._compiled_call_impl is not None
    ]
    compiled += [name for name, m in module.named_modules() if type(m).__name__ == "OptimizedModule"]
    if compiled:
        facts.append(f"compiled: {compiled[0]}; hooks inside are refused")
    config = getattr(module, "config", None)
    if getattr(config, "quantization_config", None) is not None:
        facts.append("quantised: activations can be edited, weights cannot")
    if any(hasattr(m, "_hf_hook") for m in module.modules()):
        facts.append("offloaded by accelerate: reads run the whole forward")
    kernel = getattr(config, "_attn_implementation", None)
    if kernel:
        facts.append(f"attention: {kernel}")
    devices = sorted({str(p.device) for p in module.parameters()})
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in module.parameters()})
    facts.append(f"parameters: {', '.join(dtypes)} on {', '.join(devices)}")
    return facts


def kind_of(model: Any) -> str:
    """What somebody tried to wrap, with the nearest right thing for a name or a class."""
    if isinstance(model, str):
        return f"a name (to open it: load({model!r}))"
    return f"a class (make one: {model.__name__}(...))" if isinstance(model, type) else type(model).__name__
