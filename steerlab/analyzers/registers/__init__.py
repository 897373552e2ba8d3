"""Registers: tokens whose stream is much longer than the rest, the neurons behind them, and what helps."""

from steerlab.analyzers.registers.analyzer import Registers

__all__ = ["Registers"]
