"""Checks of histories from the packages of other providers: `make test-providers`."""
