"""Attention sinks: found, classed, and confirmed by edits of single heads."""

from steerlab.analyzers.sinks.analyzer import Sinks, sink_facts
from steerlab.analyzers.sinks.causal import SinkCauses
from steerlab.analyzers.sinks.facts import SinkFacts, SinkRules
from steerlab.analyzers.sinks.scores import sink_scores
from steerlab.analyzers.sinks.tables import sink_tables

__all__ = ["SinkCauses", "SinkFacts", "SinkRules", "Sinks", "sink_facts", "sink_scores", "sink_tables"]
