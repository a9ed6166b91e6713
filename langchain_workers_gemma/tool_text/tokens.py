"""Gemma's special tokens, as data."""

from __future__ import annotations

FENCES = ("```tool_code", "```tool_call", "```json")
"""What opens a fenced block that can hold calls; others are examples for the reader of the text."""


_NAMESPACES = ("default_api.", "tools.", "functions.")
"""The modules that Gemmas believe tools to be in; inside a fence any other is read too."""


QUOTE_TOKENS = ('<|"|>', "<escape>")
"""What stands around strings where a Gemma writes special tokens: Gemma 4's and FunctionGemma's."""


CALL_TOKENS = {"<|tool_call>": "<tool_call|>", "<start_function_call>": "<end_function_call>"}
"""The special tokens that open and close a call: Gemma 4's and FunctionGemma's."""


RESULT_TOKENS = ("<|tool_response>", "<start_function_response>")
"""The special tokens that can trail behind a call: a Gemma goes on to its result unless it is stopped there."""


_NOT_IN_WORDS = (*QUOTE_TOKENS, *CALL_TOKENS, *CALL_TOKENS.values(), *RESULT_TOKENS)
