"""Histories that other providers' packages wrote: `make test-providers`."""
