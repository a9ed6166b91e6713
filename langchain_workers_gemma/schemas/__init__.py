"""Convert users' schemas to JSON Schemas that a request can carry.

`to_json_schema` converts any kind of schema to a plain JSON Schema; `inline_refs` makes it self-contained;
`to_constraint_schema`, `to_tool_parameters` and `to_strict_openai` adapt it to one use in a request. All of them copy
their input, and raise no other error than `ValueError`.

Each keyword was tested with the grammar engines behind `guided_json` and `response_format`: `llguidance` 1.9.1 and
`outlines-core` 0.2.14 (`tests/unit_tests/schemas/test_constraint_engines.py` repeats the tests). Facts about `xgrammar`
come from vLLM's list of unsupported keywords (`has_xgrammar_unsupported_json_features` in
`vllm/v1/structured_output/backend_xgrammar.py`).
"""

from langchain_workers_gemma.schemas.constraint import to_constraint_schema
from langchain_workers_gemma.schemas.declarations import ShownKeywords, describe_hidden_keywords
from langchain_workers_gemma.schemas.from_user import get_schema_description, get_schema_name, to_json_schema
from langchain_workers_gemma.schemas.keywords import JSONSchema
from langchain_workers_gemma.schemas.references import inline_refs
from langchain_workers_gemma.schemas.strict import to_strict_openai
from langchain_workers_gemma.schemas.tools import to_tool_parameters

__all__ = [
    "JSONSchema",
    "ShownKeywords",
    "describe_hidden_keywords",
    "get_schema_description",
    "get_schema_name",
    "inline_refs",
    "to_constraint_schema",
    "to_json_schema",
    "to_strict_openai",
    "to_tool_parameters",
]
