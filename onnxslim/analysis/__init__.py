"""Read-only facts of a graph."""
