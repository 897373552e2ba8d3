"""Numbers as waves: the periods in which a model holds them, and sums changed by turning them."""

from steerlab.analyzers.cyclic.analyzer import Cyclic
from steerlab.analyzers.cyclic.interchange import interchange, union
from steerlab.analyzers.cyclic.neurons import Carriers, carriers
from steerlab.analyzers.cyclic.prompts import Sums, all_sums

__all__ = ["Carriers", "Cyclic", "Sums", "all_sums", "carriers", "interchange", "union"]
