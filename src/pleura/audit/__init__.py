"""The audit: everything in a data folder that will hurt a model trained on it, as findings."""
