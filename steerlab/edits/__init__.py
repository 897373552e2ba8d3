"""Edits: pure changes of an activation, one small file a kind."""

from steerlab.edits.add import Add
from steerlab.edits.affine import Affine
from steerlab.edits.base import EDITS, Edit, Scoped
from steerlab.edits.chain import Chain
from steerlab.edits.clamp import Clamp
from steerlab.edits.control import RandomControl
from steerlab.edits.fn import Fn
from steerlab.edits.gate import Gate
from steerlab.edits.listen import Listen, across
from steerlab.edits.low_rank import LowRank
from steerlab.edits.mask import Mask
from steerlab.edits.mean import Mean
from steerlab.edits.mean_field import MeanField
from steerlab.edits.move import Move
from steerlab.edits.project import Project, Remove
from steerlab.edits.prototype import ToPrototype
from steerlab.edits.recombine import Recombine
from steerlab.edits.replace import Replace
from steerlab.edits.rotate import Rotate
from steerlab.edits.scale import Scale
from steerlab.edits.shorten import Shorten
from steerlab.edits.swap import Swap
from steerlab.edits.to_number import ToNumber
from steerlab.edits.to_token import ToToken
from steerlab.edits.toward import Toward
from steerlab.edits.valued import to_value
from steerlab.edits.where import Where
from steerlab.edits.window import Window
from steerlab.edits.zero import Zero

__all__ = [
    "EDITS",
    "Add",
    "Affine",
    "Chain",
    "Clamp",
    "Edit",
    "Fn",
    "Gate",
    "Listen",
    "LowRank",
    "Mask",
    "Mean",
    "Move",
    "MeanField",
    "Project",
    "RandomControl",
    "Recombine",
    "Remove",
    "Replace",
    "Rotate",
    "Scale",
    "Scoped",
    "Shorten",
    "Swap",
    "ToNumber",
    "ToPrototype",
    "ToToken",
    "Toward",
    "Where",
    "Window",
    "Zero",
    "across",
    "to_value",
]
