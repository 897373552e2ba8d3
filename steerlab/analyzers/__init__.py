"""Analyzers: questions about a model, each answered by a report with interventions."""

from steerlab.analyzers.base import ANALYZERS, Analyzer
from steerlab.analyzers.heads import HeadGrid

__all__ = ["ANALYZERS", "Analyzer", "HeadGrid"]
