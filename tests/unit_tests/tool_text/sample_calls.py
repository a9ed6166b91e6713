"""Tools, and samples of replies with the calls, text and thoughts that they contain."""

from __future__ import annotations

from typing import Any, NamedTuple


def make_tool(tool: str, *required: str, **parameters: Any) -> dict[str, Any]:
    properties = {key: {"type": kind} if isinstance(kind, str | list) else kind for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": tool, "description": "d", "parameters": schema}}


TOOLS = [
    make_tool("weather", city="string", unit="string"),
    make_tool("now"),
    make_tool("sh", command="string"),
    make_tool("grep", include="string", path="string", pattern="string"),
    make_tool("write", path="string", content="string", overwrite="boolean"),
    make_tool("search", query="string", limit="integer", filters="object", tags="array"),
    make_tool("open", path="string"),
    make_tool("edit", edits="array"),
    make_tool("web-search", q="string"),
    make_tool("fs.read", path="string"),
    make_tool("add", a="integer", b="integer"),
    make_tool("conf", config="object", on="boolean", ratio="number", label="string"),
    make_tool("find", zip="string", phone="string", id="string", version="string",
          ids={"type": "array", "items": {"type": "string"}}),
    make_tool("nullable", value=["string", "null"]),
    make_tool("flow", connections="object", name="string"),
    make_tool("make-pdf", title="string"),
    make_tool("run_js", data="string"),
    make_tool("must", "label", label="string"),
]  # fmt: skip


class Sample(NamedTuple):
    """A reply of a model, and its meaning.

    Attributes:
        reply: The text of the reply.
        calls: The valid calls, with their arguments.
        text: The text of the message.
        reasoning: The reasoning of the message.
        invalid: The names of calls that cannot be read.
    """

    reply: str
    calls: list[tuple[str, dict[str, Any]]]
    text: str = ""
    reasoning: str = ""
    invalid: tuple[str, ...] = ()


Q = '<|"|>'  # Gemma 4's token for quotes
ROME: tuple[str, dict[str, Any]] = ("weather", {"city": "Rome"})
ROME_TEXT = f"<|tool_call>call:weather{{city:{Q}Rome{Q}}}<tool_call|>"


def wrapped(inner: str, *calls: tuple[str, dict[str, Any]], **more: Any) -> Sample:
    """Return a sample whose reply is one call between its tokens."""
    return Sample(f"<|tool_call>call:{inner}<tool_call|>", list(calls), **more)
