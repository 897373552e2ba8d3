"""What the atoms of a dictionary mean on a model, and how well the dictionary fits it."""

from steerlab.atoms.amortising import Amortisation, amortisation
from steerlab.atoms.checking import SiteCheck, SiteRow, check_site
from steerlab.atoms.fitting import Fit, fit
from steerlab.atoms.maps import CodeMap, atom_map
from steerlab.atoms.splicing import Splice
from steerlab.atoms.stream import at_site
from steerlab.atoms.tops import TopInputs, top_inputs

__all__ = [
    "Amortisation",
    "CodeMap",
    "Fit",
    "SiteCheck",
    "SiteRow",
    "Splice",
    "TopInputs",
    "amortisation",
    "at_site",
    "atom_map",
    "check_site",
    "fit",
    "top_inputs",
]
