"""Read and write Gemma's notations for tool calls and thoughts in a reply's text."""
