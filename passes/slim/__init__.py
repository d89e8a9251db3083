"""Rewrites that keep what the model computes and make it smaller."""
