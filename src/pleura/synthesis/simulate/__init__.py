"""Simulated pneumothorax in real radiographs that show none, with exact masks, for training.

The files read in this order: `wall` (a lung's outline), `collapse` (the air's shape), `response`
(grey levels as attenuation), `tissue` (what a radiograph is made of), `edits` (what a pneumothorax
changes), `distractors`, `radiograph` (one radiograph), `sources` (what can
be drawn on), `cohort` (a folder).
``docs/explanation/simulate.md`` says what is drawn and why.
"""

from pleura.synthesis.simulate.cohort import SimulatedCohort, simulated, write_simulated
from pleura.synthesis.simulate.radiograph import Simulated, simulate
from pleura.synthesis.simulate.sources import find_radiographs

__all__ = [
    "Simulated",
    "SimulatedCohort",
    "find_radiographs",
    "simulate",
    "simulated",
    "write_simulated",
]
