"""Gemma's notations for tool calls as text: reading and writing."""
