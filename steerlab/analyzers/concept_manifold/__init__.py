"""Whether an ordinary dictionary holds a concept's manifold whole, tiles it, or dilutes it."""

from steerlab.analyzers.concept_manifold.analyzer import ConceptManifold

__all__ = ["ConceptManifold"]
