"""The inspector renders prompts exactly as Gemma's own templates do: `make test-templates`."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError

from langchain_workers_gemma.models import GemmaModel, get_model
from langchain_workers_gemma.sandbox.inspector.prompt import render_prompt
from tests.helpers.model_calls import GEMMA_4, GEMMA_7B
from tests.templates.conftest import RENDERINGS
from tests.templates.templates import compile_template

EXAMPLES = 600
"""The number of random conversations for each template."""

text = st.text(st.sampled_from('ab <|>"{}\n:,é'), max_size=8) | st.sampled_from(
    ["<turn|>", "<|channel>thought\nx<channel|>y", "<channel|>z"]
)
name = st.sampled_from(["f", "get_weather", "B", "type", "a", "description"])
leaf = text | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none()
value = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
)
kind = st.sampled_from(["string", "array", "object", "integer", "number", "boolean"])
names = st.lists(name, max_size=2)
properties: st.SearchStrategy[dict[str, Any]] = st.deferred(lambda: st.dictionaries(name, schema, max_size=3))
items = st.deferred(
    lambda: st.fixed_dictionaries(
        {},
        optional={
            "type": kind | st.just(["string", "null"]),
            "properties": properties,
            "required": names,
            "description": text,
            "minimum": st.integers(),
            "enum": st.lists(text, max_size=2),
            "default": st.none(),
        },
    )
)
schema: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "type": kind,
        "description": text,
        "enum": st.lists(text, max_size=2),
        "nullable": st.booleans(),
        "items": items,
        "properties": properties,
        "required": names,
    },
)
parameters = st.fixed_dictionaries(
    {}, optional={"type": st.just("object"), "properties": properties, "required": names}
)
function = st.fixed_dictionaries({"name": name}, optional={"description": text, "parameters": parameters})
tool = st.builds(lambda definition: {"type": "function", "function": definition}, function)
parts = st.lists(st.builds(lambda one: {"type": "text", "text": one}, text) | st.just({"type": "image"}), max_size=3)
call_id = st.sampled_from("123")
call = st.builds(
    lambda id_, name_, arguments: {"id": id_, "type": "function", "function": {"name": name_, "arguments": arguments}},
    call_id,
    name,
    st.dictionaries(name, value, max_size=3),
)
user = st.builds(lambda content: {"role": "user", "content": content}, text | parts)
assistant = st.builds(
    lambda content, calls, thoughts: {
        "role": "assistant",
        "content": content,
        **({"tool_calls": calls} if calls else {}),
        **thoughts,
    },
    text | parts | st.none(),
    st.lists(call, max_size=2),
    st.fixed_dictionaries({}, optional={"reasoning": text, "reasoning_content": text}),
)
result = st.builds(
    lambda id_, content, name_: {"role": "tool", "tool_call_id": id_, "content": content, "name": name_},
    call_id,
    text | parts,
    name,
)
system = st.builds(
    lambda role, content: [{"role": role, "content": content}], st.sampled_from(["system", "developer"]), text
)
conversation = st.builds(
    lambda first, rest: first + rest,
    st.just([]) | system,
    st.lists(user | assistant | result, min_size=1, max_size=6),
)
example_settings = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def get_model_spec(model_id: str) -> GemmaModel:
    found = get_model(model_id)
    assert found is not None
    return found


@example_settings
@given(conversation, st.lists(tool, max_size=2), st.booleans())
def test_gemma_4(messages: list[Any], tools: list[Any], thinking: bool) -> None:
    expected = compile_template("google-gemma-4-31B-it").render(
        messages=messages, tools=tools, enable_thinking=thinking, add_generation_prompt=True, bos_token="<bos>"
    )
    body = {"messages": messages, "tools": tools, "chat_template_kwargs": {"enable_thinking": thinking}}
    assert render_prompt(get_model_spec(GEMMA_4), body).text == expected
    RENDERINGS["inspector, Gemma 4"] += 1


turns = (
    st.integers(1, 5)
    .flatmap(lambda count: st.tuples(*[text] * count))
    .map(
        lambda texts: [{"role": "user" if at % 2 == 0 else "assistant", "content": one} for at, one in enumerate(texts)]
    )
)
anything = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["user", "assistant", "system", "tool"]),
        text,
    ),
    min_size=1,
    max_size=5,
)


@example_settings
@given(turns | anything)
def test_gemma_2(messages: list[Any]) -> None:
    rendered = render_prompt(get_model_spec(GEMMA_7B), {"messages": messages})
    expected: str | None = None
    refusal = ""
    try:
        expected = compile_template("google-gemma-2-2b-it").render(
            messages=messages, add_generation_prompt=True, bos_token="<bos>"
        )
    except TemplateError as error:
        refusal = str(error)
    assert (rendered.refusal or "").startswith(refusal)
    assert (rendered.refusal is None) is (expected is not None)
    assert expected is None or rendered.text == expected
    RENDERINGS["inspector, Gemma 2"] += 1
