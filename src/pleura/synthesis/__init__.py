"""Radiographs that are made up, and pneumothoraces drawn on real ones."""
