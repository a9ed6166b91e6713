"""The package in Pyodide under node; see `run.py`."""
