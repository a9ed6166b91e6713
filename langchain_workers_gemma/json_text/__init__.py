"""Parse JSON that is incomplete or embedded in other text, and encode values as JSON."""
