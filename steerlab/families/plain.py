"""Any module at all: no vocabulary, every module by its path."""

from __future__ import annotations

from steerlab.families.family import FAMILIES, Family
from steerlab.families.inputs import no_proof, plain_inputs

PLAIN = FAMILIES.add("plain", Family("plain", (), {}, no_proof, plain_inputs))
