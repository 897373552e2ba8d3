"""Coordinates of interventions: anything that encodes, decodes and names its atoms."""

from steerlab.bases.base import Basis
from steerlab.bases.blocks import Block, BlockView
from steerlab.bases.curved import Curved
from steerlab.bases.debiased import Debiased
from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Distances, Encoder, Fista, Gated, Linear, Pursuit
from steerlab.bases.facts import Facts, Stats
from steerlab.bases.fourier import FourierCode, fourier_probes
from steerlab.bases.geodesics import behaviour_metric, density_metric, geodesic_path
from steerlab.bases.linear import PCA, Direction, Subspace
from steerlab.bases.manifold import Manifold
from steerlab.bases.manifold_fitting import Shape, fit_manifold
from steerlab.bases.orders import wrong_order
from steerlab.bases.part import Part
from steerlab.bases.paths import Path
from steerlab.bases.rules import BatchTopK, BlockShrink, BlockTopK, GroupMax, JumpRelu, Relu, Rule, TopK
from steerlab.bases.temporal import TemporalFeaturizer, TemporalPart

__all__ = [
    "PCA",
    "Basis",
    "BatchTopK",
    "Block",
    "BlockShrink",
    "BlockTopK",
    "BlockView",
    "Curved",
    "Debiased",
    "Dictionary",
    "Direction",
    "Distances",
    "Encoder",
    "Facts",
    "Fista",
    "FourierCode",
    "Gated",
    "GroupMax",
    "JumpRelu",
    "Linear",
    "Manifold",
    "Part",
    "Path",
    "Pursuit",
    "Relu",
    "Rule",
    "Shape",
    "Stats",
    "Subspace",
    "TemporalFeaturizer",
    "TemporalPart",
    "TopK",
    "behaviour_metric",
    "density_metric",
    "fit_manifold",
    "fourier_probes",
    "geodesic_path",
    "wrong_order",
]
