"""What the atoms of a dictionary mean on a model, and how well the dictionary fits it."""

from steerlab.atoms.agreement import shared_top, spearman
from steerlab.atoms.amortising import Amortisation, amortisation
from steerlab.atoms.checking import SiteCheck, SiteRow, check_site
from steerlab.atoms.fitting import Fit, fit
from steerlab.atoms.groups import AtomGroup, Grouping, atom_groups
from steerlab.atoms.lacking import BlindspotReport, blindspots
from steerlab.atoms.maps import CodeMap, atom_map
from steerlab.atoms.matching import StabilityReport, stability
from steerlab.atoms.parts import active_atoms
from steerlab.atoms.pooling import pooled
from steerlab.atoms.preferring import PreferenceReport, preferences
from steerlab.atoms.splicing import Splice
from steerlab.atoms.stream import at_site
from steerlab.atoms.tops import TopInputs, top_inputs
from steerlab.atoms.translating import TranslationReport, translation
from steerlab.atoms.weighing import Agreement, Importance, head_importance, importance
from steerlab.atoms.words import LogitEffects, logit_effects

__all__ = [
    "Agreement",
    "Amortisation",
    "AtomGroup",
    "BlindspotReport",
    "CodeMap",
    "Fit",
    "Grouping",
    "Importance",
    "LogitEffects",
    "PreferenceReport",
    "SiteCheck",
    "SiteRow",
    "Splice",
    "StabilityReport",
    "TopInputs",
    "TranslationReport",
    "active_atoms",
    "amortisation",
    "at_site",
    "atom_groups",
    "atom_map",
    "blindspots",
    "check_site",
    "fit",
    "head_importance",
    "importance",
    "logit_effects",
    "pooled",
    "preferences",
    "shared_top",
    "spearman",
    "stability",
    "top_inputs",
    "translation",
]
