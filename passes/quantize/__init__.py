"""Rewrites to low-precision arithmetic."""
