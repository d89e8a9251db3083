"""Tests of onnxslim.fitting."""
