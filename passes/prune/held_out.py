"""Which samples refitting does not see, so that they can judge it."""

HELD_OUT = 4
"""Every so manieth sample is not fitted, but judges."""
