"""The challenge's data from Kaggle."""
