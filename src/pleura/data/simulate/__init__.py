"""Simulated pneumothorax in real films that show none, with exact masks, for training.

The files read in this order: `wall` (a lung's outline), `collapse` (the air's shape), `response`
(grey levels as attenuation), `tissue` (what a film is made of), `edits` (what a pneumothorax
changes), `distractors`, `film` (one film), `cohort` (a folder). ``docs/simulate.md`` says what is
drawn and why.
"""

from pleura.data.simulate.cohort import SimulatedCohort, find_films, simulated, write_simulated
from pleura.data.simulate.film import Simulated, simulate

__all__ = [
    "Simulated",
    "SimulatedCohort",
    "find_films",
    "simulate",
    "simulated",
    "write_simulated",
]
