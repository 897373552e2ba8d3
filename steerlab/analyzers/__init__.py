"""Analyzers: questions about a model, each answered by a report with interventions."""

from steerlab.analyzers.atom_dose import AtomDose
from steerlab.analyzers.attention_maps import AttentionMaps
from steerlab.analyzers.base import ANALYZERS, Analyzer
from steerlab.analyzers.bfd import Factors
from steerlab.analyzers.bimodal import Bimodal, Composed
from steerlab.analyzers.blocks import Blocks
from steerlab.analyzers.concept_manifold import ConceptManifold
from steerlab.analyzers.contrastive import ContrastiveVector
from steerlab.analyzers.cyclic import Cyclic
from steerlab.analyzers.heads import HeadGrid
from steerlab.analyzers.manifold_steering import ManifoldSteering
from steerlab.analyzers.massive import Massive
from steerlab.analyzers.patch_maps import PatchMaps
from steerlab.analyzers.picture_edit import PictureEdit
from steerlab.analyzers.picture_manifold import PictureManifold
from steerlab.analyzers.radius import Radius
from steerlab.analyzers.raptor import Phases
from steerlab.analyzers.registers import Registers
from steerlab.analyzers.similarity import Similarity
from steerlab.analyzers.sinks import SinkCauses, Sinks
from steerlab.analyzers.streaming import Streaming
from steerlab.analyzers.temporal import Temporal
from steerlab.analyzers.translation import Translation

__all__ = [
    "ANALYZERS",
    "Analyzer",
    "AtomDose",
    "AttentionMaps",
    "Bimodal",
    "Blocks",
    "Composed",
    "ConceptManifold",
    "ContrastiveVector",
    "Cyclic",
    "Factors",
    "HeadGrid",
    "ManifoldSteering",
    "Massive",
    "PatchMaps",
    "Phases",
    "PictureEdit",
    "PictureManifold",
    "Radius",
    "Registers",
    "Similarity",
    "SinkCauses",
    "Sinks",
    "Streaming",
    "Temporal",
    "Translation",
]
