"""Operators beyond the standard that onnxruntime's CPU provider has kernels of, read from onnxruntime 1.32.

They are used only in models that are asked to be for onnxruntime; no other runtime need know them. All kernels that are
used take float32.
"""

from __future__ import annotations

DOMAIN = "com.microsoft"
VERSION = 1
ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "LeakyRelu")
"""What a FusedConv applies, beside a Clip with constant limits."""
DYNAMIC_LSTM = "DynamicQuantizeLSTM"
"""An LSTM with int8 weights, transposed: [directions, input or hidden, 4 * hidden]. Its first eight inputs are those of
an LSTM, its outputs too."""
