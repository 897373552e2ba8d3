"""Steering what a pipeline draws along the manifold on which a concept's values lie."""

from steerlab.analyzers.picture_manifold.analyzer import PictureManifold
from steerlab.analyzers.picture_manifold.fitting import Fitted, fit_pictures
from steerlab.analyzers.picture_manifold.measuring import Reader

__all__ = ["Fitted", "PictureManifold", "Reader", "fit_pictures"]
