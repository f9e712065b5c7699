"""Losses, sampling, augmentation and the loop that trains a network."""
