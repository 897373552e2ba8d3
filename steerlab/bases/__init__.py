"""Coordinates of interventions: anything that encodes, decodes and names its atoms."""

from steerlab.bases.base import Basis
from steerlab.bases.linear import PCA, Direction, Subspace

__all__ = ["PCA", "Basis", "Direction", "Subspace"]
