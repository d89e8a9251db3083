"""The entry point of the command line."""
