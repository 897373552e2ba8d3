"""Families: rows of data that say where the parts of a model are."""

from steerlab.families import clip, diffusion, plain, text, video, vision
from steerlab.families.family import FAMILIES, Attention, Block, Denoiser, Family, Tower, family_of

# importing these files registers their rows
ROWS = (text, vision, clip, video, diffusion, plain)

__all__ = ["FAMILIES", "ROWS", "Attention", "Block", "Denoiser", "Family", "Tower", "family_of"]
