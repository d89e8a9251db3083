"""The verbs in Python: one module each."""
