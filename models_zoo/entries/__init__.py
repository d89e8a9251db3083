"""The models, one a file: each module has a tuple ENTRIES and imports what is heavy only when a task is run."""
