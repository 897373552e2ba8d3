"""Figures: pure functions from data to a matplotlib Figure; matplotlib is imported when one is drawn."""

from steerlab.figures.atoms import atom_frames, atom_pictures, atom_texts, site_fit
from steerlab.figures.bars import bars, stacked_bars
from steerlab.figures.compared import compared
from steerlab.figures.curves import Series, lines, spectrum
from steerlab.figures.doses import dose_response
from steerlab.figures.drawing import save
from steerlab.figures.frames import frame_maps
from steerlab.figures.grids import block_head_grid
from steerlab.figures.labels import Axis, Labels
from steerlab.figures.manifolds import Coordinate, manifold
from steerlab.figures.maps import Scale, patch_maps
from steerlab.figures.pictures import before_after
from steerlab.figures.ribbons import ribbons
from steerlab.figures.scatters import scatter
from steerlab.figures.similarities import similarity
from steerlab.figures.spaces import Space, clouds, spaces
from steerlab.figures.tokens import token_map, token_strip
from steerlab.figures.two_sided import two_sided_maps
from steerlab.figures.views import gap_view, two_spaces

__all__ = [
    "Axis",
    "Coordinate",
    "Labels",
    "Scale",
    "Series",
    "Space",
    "atom_frames",
    "atom_pictures",
    "atom_texts",
    "bars",
    "before_after",
    "block_head_grid",
    "clouds",
    "compared",
    "dose_response",
    "frame_maps",
    "gap_view",
    "lines",
    "manifold",
    "patch_maps",
    "ribbons",
    "save",
    "scatter",
    "similarity",
    "site_fit",
    "spaces",
    "spectrum",
    "stacked_bars",
    "token_map",
    "token_strip",
    "two_sided_maps",
    "two_spaces",
]
