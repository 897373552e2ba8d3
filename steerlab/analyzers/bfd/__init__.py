"""Bi-orthogonal factor decomposition: what queries and keys exchange, position or content."""

from steerlab.analyzers.bfd.acting import kept_modes, recombined, without_modes
from steerlab.analyzers.bfd.factors import Factors
from steerlab.analyzers.bfd.gathering import Gathered, gather

__all__ = ["Factors", "Gathered", "gather", "kept_modes", "recombined", "without_modes"]
