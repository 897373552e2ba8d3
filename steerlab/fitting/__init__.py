"""Training of sparse dictionaries on activations."""

from steerlab.fitting.coupled import fit_coupled
from steerlab.fitting.coupling import Losses
from steerlab.fitting.fit import fit_dictionary
from steerlab.fitting.settings import Fitting
from steerlab.fitting.temporal import TemporalFitting, fit_temporal

__all__ = ["Fitting", "Losses", "TemporalFitting", "fit_coupled", "fit_dictionary", "fit_temporal"]
