"""Operators of the default domain that compute each element of the result from those at its place."""

from __future__ import annotations

ELEMENTWISE = (
    *("Abs", "Cast", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "IsNaN", "LeakyRelu"),
    *("Log", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign"),
    *("Sqrt", "Tan", "Tanh", "ThresholdedRelu"),
)
"""Operators of one input that compute each element from the one at its place, with attributes that are scalars."""
BROADCASTING = (
    *("Add", "And", "Clip", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul"),
    *("Or", "Pow", "Sub", "Where", "Xor"),
)
"""Operators of several inputs that broadcast them, and compute each element from those at its place."""
