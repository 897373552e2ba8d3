"""Steering along a concept's manifold: how natural what a model then says is, beside straight lines."""

from steerlab.analyzers.manifold_steering.analyzer import ManifoldSteering
from steerlab.analyzers.manifold_steering.outcomes import Outcomes
from steerlab.analyzers.manifold_steering.pulling import Pullback, Pulling, free_components, pulled_back
from steerlab.analyzers.manifold_steering.reading import Answers, answers_at

__all__ = [
    "Answers",
    "ManifoldSteering",
    "Outcomes",
    "Pullback",
    "Pulling",
    "answers_at",
    "free_components",
    "pulled_back",
]
