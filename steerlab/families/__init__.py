"""Families: rows of data that say where the parts of a model are."""

from steerlab.families import clip, diffusion, plain, text, video, vision  # noqa: F401  the rows register
from steerlab.families.family import FAMILIES, Attention, Block, Denoiser, Family, Tower, family_of

__all__ = ["FAMILIES", "Attention", "Block", "Denoiser", "Family", "Tower", "family_of"]
