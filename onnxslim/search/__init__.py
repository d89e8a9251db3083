"""Candidates for the result, and which of them is kept."""

from onnxslim.search.candidate import Candidate
from onnxslim.search.fallback import Fallback

__all__ = ["Candidate", "Fallback"]
