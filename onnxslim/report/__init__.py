"""One result object for the terminal and for JSON."""
