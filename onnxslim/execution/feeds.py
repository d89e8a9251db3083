"""What goes into a model and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Feed = dict[str, np.ndarray]
"""Input name -> array, as onnxruntime takes them."""
Outputs = dict[str, np.ndarray]
"""Output name -> array, in the order of the graph's outputs."""
Run = Callable[[Feed], Outputs]
"""Runs a model once."""
