"""File formats of trained dictionaries, one file each; importing this registers them."""

from steerlab.bases.formats import own
from steerlab.bases.formats.format import FORMATS, Format, read_dictionary, register

__all__ = ["FORMATS", "Format", "own", "read_dictionary", "register"]
