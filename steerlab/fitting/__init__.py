"""Training of sparse dictionaries on activations."""

from steerlab.fitting.fit import fit_dictionary
from steerlab.fitting.settings import Fitting

__all__ = ["Fitting", "fit_dictionary"]
