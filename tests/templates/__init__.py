"""Requests rendered through Gemma's own chat templates: `make test-templates`."""
