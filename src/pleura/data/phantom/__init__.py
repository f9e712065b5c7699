"""Made-up frontal chest radiographs whose pneumothorax is known exactly.

The files read in this order: `anatomy` (geometry, no pixels), `canvas`, then what is drawn
(`tissue`, `skeleton`, `markings`, `devices`), `radiography` (one film), `cohort` (a data set).
"""

from pleura.data.phantom.cohort import Cohort, write_cohort
from pleura.data.phantom.radiography import Phantom, draw_phantom

__all__ = ["Cohort", "Phantom", "draw_phantom", "write_cohort"]
