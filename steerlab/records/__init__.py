"""Records: what a run leaves in its folder, read again and held beside another."""

from steerlab.records.record import LOCK, Record
from steerlab.records.sides import compare, size

__all__ = ["LOCK", "Record", "compare", "size"]
