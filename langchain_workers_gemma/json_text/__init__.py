"""JSON that is incomplete, or embedded in other text."""
