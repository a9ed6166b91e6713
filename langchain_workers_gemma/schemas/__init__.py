"""Users' schemas, turned into JSON Schemas fit for the wire.

`json_schema_of` makes a plain JSON Schema of whatever a user hands in; `inline_refs` makes it self-contained;
`for_constraint`, `for_tool` and `strict_openai` fit it to a place on the wire. All are pure: they copy their input, and
the only error they raise is `ValueError`.

What the grammar engines behind `guided_json` and `response_format` do with each keyword was tried on `llguidance` 1.9.1
and `outlines-core` 0.2.14 (`tests/unit_tests/test_schemas_constraint.py` tries it again); what is said of `xgrammar` is
vLLM's own list of what it lacks (`has_xgrammar_unsupported_json_features` in
`vllm/v1/structured_output/backend_xgrammar.py`).
"""

from langchain_workers_gemma.schemas.constraint import for_constraint
from langchain_workers_gemma.schemas.declarations import ShownKeywords, declare
from langchain_workers_gemma.schemas.from_user import json_schema_of, schema_description, schema_name
from langchain_workers_gemma.schemas.keywords import JSONSchema
from langchain_workers_gemma.schemas.references import inline_refs
from langchain_workers_gemma.schemas.strict import strict_openai
from langchain_workers_gemma.schemas.tools import for_tool

__all__ = [
    "JSONSchema",
    "ShownKeywords",
    "declare",
    "for_constraint",
    "for_tool",
    "inline_refs",
    "json_schema_of",
    "schema_description",
    "schema_name",
    "strict_openai",
]
