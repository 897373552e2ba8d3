"""Constants that are asked for again and again, on every device and in every dtype that asks."""

from __future__ import annotations

import torch


class Copies:
    """Some tensors, copied once for each device and dtype.

    Copies are made outside inference mode, so that what is first asked for there serves gradients later.

    Parameters
    ----------
    *tensors : Tensor
        The originals; those that are not floating keep their dtype.
    """

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._originals = tensors
        self._made: dict[tuple, tuple[torch.Tensor, ...]] = {}

    def near(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return them on the device of `x` and, where they are floating, in its dtype."""
        key = (x.device, x.dtype)
        if key not in self._made:
            with torch.inference_mode(False):
                self._made[key] = tuple(
                    t.to(x) if t.is_floating_point() else t.to(x.device) for t in self._originals
                )
        return self._made[key]
