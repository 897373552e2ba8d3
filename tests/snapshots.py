"""What a model looks like to whoever finds it later: all that an intervention has to leave as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

HOOKS = (
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
    *("_backward_hooks", "_backward_pre_hooks"),
)
GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")


class Same:
    """A value that equals itself alone; it is kept alive, so that its place in memory is not given away."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __repr__(self) -> str:
        return f"<{type(self.value).__name__} at {id(self.value):#x}>"


def parts(model: Any) -> dict[str, nn.Module]:
    """The modules that make up a model or a pipeline."""
    if isinstance(model, nn.Module):
        return {"": model}
    return {name: part for name, part in model.components.items() if isinstance(part, nn.Module)}


def owners(model: Any) -> dict[str, Any]:
    """The model itself and the parts of a pipeline that are no modules, such as the scheduler."""
    others = {} if isinstance(model, nn.Module) else dict(model.components)
    return {"model": model, **{name: part for name, part in others.items() if hasattr(part, "__dict__")}}


def modules(model: Any) -> Iterator[tuple[str, nn.Module]]:
    for name, part in parts(model).items():
        yield from part.named_modules(prefix=name)


def table(hooks: dict) -> list[tuple[Any, Same]]:
    return [(key, Same(hook)) for key, hook in hooks.items()]


def digest(module: nn.Module) -> str:
    sha = hashlib.sha1()
    for tensor in (*module.parameters(), *module.buffers()):
        sha.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def hooks(model: Any) -> dict[str, Any]:
    """Every hook dict of every module, in order, by key and identity; and torch's global ones."""
    found = {
        f"{path}.{name}": table(getattr(module, name) or {})
        for path, module in modules(model)
        for name in HOOKS
    }
    return found | {name: table(getattr(torch_module, name)) for name in GLOBAL_HOOKS}


def snapshot(model: Any) -> dict[str, Any]:
    """Facts by name, to be compared with `==` or `differences`."""
    found: dict[str, Any] = hooks(model)
    found["attention, local"] = table(ALL_ATTENTION_FUNCTIONS._local_mapping)
    found["attention, ours"] = [
        name
        for name, entry in ALL_ATTENTION_FUNCTIONS.items()
        if type(entry).__module__.startswith("steerlab")
    ]
    found["attention, global"] = table(type(ALL_ATTENTION_FUNCTIONS)._global_mapping)
    for path, module in modules(model):
        # hook dicts, processors, a `forward` put on the object, the mode: all are attributes of the object
        found[f"{path}: attributes"] = table(vars(module))
        found[f"{path}: children"] = table(module._modules)
        found[f"{path}: parameters"] = table(module._parameters)
        found[f"{path}: forward"] = Same(module.forward.__func__)
        config = vars(module).get("config")
        if hasattr(config, "to_dict"):
            found[f"{path}: config"] = config.to_dict() | {"attention": config._attn_implementation}
    for name, owner in owners(model).items():
        own = {key: value for key, value in vars(owner).items() if callable(value)}
        found[f"{name}: methods of its own"] = table(own)
    for name, part in parts(model).items():
        found[f"{name}: weights"] = digest(part)
        found[f"{name}: gradients"] = [(p.requires_grad, p.grad is None) for p in part.parameters()]
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not as it was, one line each."""
    return [
        f"{name}: {before.get(name)} -> {after.get(name)}"
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]
