"""Structured pruning: whole channels leave a model, and what reads them learns to do without."""
