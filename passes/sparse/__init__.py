"""Zeros and few values in weights, and files that are smaller by them."""
