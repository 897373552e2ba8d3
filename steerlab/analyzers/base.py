"""What an analyzer is: a question with settings, asked of a model and data, answered by a report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from steerlab.model import Model
from steerlab.registry import Registry
from steerlab.report import Report

ANALYZERS: Registry[type[Analyzer]] = Registry("analyzer", "steerlab.analyzers")


class Analyzer(ABC):
    """A question; a frozen dataclass whose fields are its settings.

    It uses the public verbs of `Model` alone, and its report holds interventions where the answer is one that
    can be acted on.
    """

    def __init_subclass__(cls) -> None:
        ANALYZERS.add(cls.__name__, cls, replace=True)  # a notebook cell that defines one is run twice

    @abstractmethod
    def __call__(self, model: Model, data: Any) -> Report:
        """Ask the model, on these inputs."""

    def passes(self, model: Model, data: Any) -> float | None:
        """About how many times an input goes through the model, for the estimate of a dry run.

        For a pipeline, how many pictures go through a denoising step. None where it cannot be told.
        """
        return None
