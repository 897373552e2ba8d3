"""Shared blocks that stand in for many: trained by distillation, kept as values."""

from steerlab.surrogates.block import BlockSizes, RaptorBlock
from steerlab.surrogates.fit import fit_surrogate
from steerlab.surrogates.settings import Distilling
from steerlab.surrogates.surrogate import Surrogate

__all__ = ["BlockSizes", "Distilling", "RaptorBlock", "Surrogate", "fit_surrogate"]
