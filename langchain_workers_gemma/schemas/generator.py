"""Adapt Pydantic's generator of JSON Schemas to a model that writes JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic.json_schema import GenerateJsonSchema  # loaded by langchain_core anyway

from langchain_workers_gemma.schemas.keywords import JSONSchema

if TYPE_CHECKING:
    from pydantic_core.core_schema import DecimalSchema


class PydanticGenerator(GenerateJsonSchema):
    """Pydantic's generator, with another schema for `Decimal`."""

    def decimal_schema(self, schema: DecimalSchema) -> JSONSchema:
        """Return the schema of a number only: with "a number or a string", a model may write any string."""
        made = super().decimal_schema(schema)
        return next((one for one in made.get("anyOf", []) if one.get("type") == "number"), made)
