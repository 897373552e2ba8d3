"""What of an activation its past foretells, and what a language model does without either part."""

from steerlab.analyzers.temporal.analyzer import Temporal
from steerlab.analyzers.temporal.reading import sequences

__all__ = ["Temporal", "sequences"]
