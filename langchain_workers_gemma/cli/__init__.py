"""The command line: `workers-gemma`."""
