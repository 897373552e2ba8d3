"""Similarity: whether places of one model, or of two, hold the same about the same inputs."""

from steerlab.analyzers.similarity.analyzer import Similarity

__all__ = ["Similarity"]
