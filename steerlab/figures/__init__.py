"""Figures: pure functions from data to a matplotlib Figure; matplotlib is imported when one is drawn."""

from steerlab.figures.atoms import atom_frames, atom_pictures, atom_texts, site_fit
from steerlab.figures.doses import dose_response
from steerlab.figures.drawing import save
from steerlab.figures.grids import block_head_grid, token_strip
from steerlab.figures.maps import patch_maps
from steerlab.figures.pictures import before_after

__all__ = [
    "atom_frames",
    "atom_pictures",
    "atom_texts",
    "before_after",
    "block_head_grid",
    "dose_response",
    "patch_maps",
    "save",
    "site_fit",
    "token_strip",
]
