"""Block-sparse featurizers: what blocks cost, hold and follow, and steering along the curve inside one."""

from steerlab.analyzers.blocks.analyzer import Blocks
from steerlab.analyzers.blocks.factors import Factor, factor_of
from steerlab.analyzers.blocks.tuned import Tuned, tuned

__all__ = ["Blocks", "Factor", "Tuned", "factor_of", "tuned"]
