"""What a run is: a forward by itself, a generation, a pipeline that denoises."""

from steerlab.runs.base import Run
from steerlab.runs.denoising import DenoisingRun
from steerlab.runs.generating import GeneratingRun

__all__ = ["DenoisingRun", "GeneratingRun", "Run"]
