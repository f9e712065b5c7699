"""Made-up frontal chest radiographs whose pneumothorax is known exactly.

The files read in this order: `anatomy` (geometry, no pixels), `canvas`, then what is drawn
(`tissue`, `skeleton`, `markings`, `devices`), `radiography` (one radiograph), `cohort` (a data
set).
"""

from pleura.synthesis.phantom.cohort import Cohort, write_cohort
from pleura.synthesis.phantom.radiography import Phantom, draw_phantom

__all__ = ["Cohort", "Phantom", "draw_phantom", "write_cohort"]
