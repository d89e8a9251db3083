"""The version of this distribution, below everything that prints it."""

__version__ = "0.1.0"
