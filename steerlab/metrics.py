"""How large an effect is: one number a row, from the outputs before and after."""

from __future__ import annotations

from steerlab.numerics.divergence import kl_last as kl
from steerlab.numerics.divergence import relative_change

__all__ = ["kl", "relative_change"]
