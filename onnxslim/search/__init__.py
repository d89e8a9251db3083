"""Candidates for the result, and which of them is kept."""

from onnxslim.search.candidate import Candidate
from onnxslim.search.fallback import Fallback
from onnxslim.search.front import Figures, Front, Trial
from onnxslim.search.status import Status

__all__ = ["Candidate", "Fallback", "Figures", "Front", "Status", "Trial"]
