"""Block-recurrent dynamics: phases of depth, how states move in them, and what stands in for them."""

from steerlab.analyzers.raptor.phases import Phases

__all__ = ["Phases"]
