"""The bimodal subspace of two-tower models: gaps, retrieval and vector arithmetic."""

from steerlab.analyzers.bimodal.analyzer import Bimodal
from steerlab.analyzers.bimodal.composed import Composed

__all__ = ["Bimodal", "Composed"]
