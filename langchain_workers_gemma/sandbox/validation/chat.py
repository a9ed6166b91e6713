"""Parse a chat request by the published schema of its model.

Unknown fields are accepted, because the published schemas are open. If known fields have wrong types or values, the
request is refused with all problems in one message.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.models import Range
from langchain_workers_gemma.sandbox.chat import ChatRequest, Turn
from langchain_workers_gemma.sandbox.errors import LORA_UNSUPPORTED, ServiceError, make_bad_input_error

from .checker import Checker
from .constraint import DOCUMENTED_RULES, RequestRules, read_constraint
from .context import check_context
from .messages import read_messages
from .templates import check_declarations, check_template
from .tools import read_functions, read_tool_choice, read_tools

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_workers_gemma.models import GemmaModel

_UNPUBLISHED_DEFAULT = 256
# The fields of `ChatCompletionsCommonOptions` (npm's @cloudflare/workers-types) that have no effect in the sandbox.
_OPENAI_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "audio": ("object",),
        "function_call": ("string", "object"),
        "functions": ("array",),
        "logit_bias": ("object",),
        "logprobs": ("boolean",),
        "metadata": ("object",),
        "modalities": ("array",),
        "prediction": ("object",),
        "service_tier": ("string",),
        "skip_special_tokens": ("boolean",),
        "store": ("boolean",),
        "top_logprobs": ("integer",),
        "user": ("string",),
        "web_search_options": ("object",),
    }
)
_CHOICES = Range(low=1, high=128, integer=True)


def read_chat(model: GemmaModel, body: Mapping[str, Any], rules: RequestRules = DOCUMENTED_RULES) -> ChatRequest:
    """Read a request.

    Args:
        model: The published facts about the model.
        body: The input, without the route's wrapper.
        rules: The rules of the dialect and the route.

    Raises:
        ServiceError: If the service would refuse the request.
    """
    openai_form = not model.raw  # Gemma 4 and all models of AI/ML API accept OpenAI's input
    check = Checker(nullable=openai_form)
    turns, prompt = _read_turns(check, model, body)
    tools = read_tools(check, model, body) if model.tools else _refuse_tools(model, body)
    choice = read_tool_choice(check, body, tools) if model.tool_choice else "auto"
    schema = read_constraint(check, model.constraint, body, rules)
    numbers = _read_numbers(check, model, body)
    request = ChatRequest(
        model=model,
        body=body,
        turns=turns,
        prompt=prompt,
        tools=tools,
        tool_choice=choice,
        parallel=check.get_optional(body, "parallel_tool_calls", "", "boolean") is not False or not model.tool_choice,
        schema=schema,
        json_mode=schema is not None and model.constraint != "guided_json",
        stream=check.get_optional(body, "stream", "", "boolean") is True,
        include_usage=_read_include_usage(check, body) if model.stream_options else True,
        max_tokens=int(numbers.get("max_tokens") or model.default_max_tokens or _UNPUBLISHED_DEFAULT),
        stop=_read_stop(check, model, body),
        seed=int(numbers["seed"]) if "seed" in numbers else None,
        temperature=numbers.get("temperature"),
        thinking=_read_thinking(check, model, body),
        n=int((check.get_number(body, "n", _CHOICES) if openai_form else None) or 1),
    )
    _read_options(check, model, body)
    if check.problems:
        raise make_bad_input_error(*_explain(model, body, check.problems))
    if prompt is None:
        check_template(model, turns, lenient=rules.lenient_templates)
        check_declarations(model, tools, lenient=rules.lenient_templates, strict=rules.strict_declarations)
    return check_context(request, rules, explicit="max_tokens" in numbers)


def _read_turns(check: Checker, model: GemmaModel, body: Mapping[str, Any]) -> tuple[tuple[Turn, ...], str | None]:
    if "messages" in body:
        messages = body["messages"]
        if not check.check_value(messages, "/messages", "array"):
            return (), None
        if not messages:
            check.add("minItems at '/messages' is 1, got 0")
        return read_messages(check, model, messages), None
    if not model.raw or "prompt" not in body:
        check.add(f"required properties at '/' are '{'messages' if not model.raw else 'prompt'}'")
        if model.raw:
            check.add("required properties at '/' are 'messages'")
        return (), None
    prompt = body["prompt"]
    if not check.check_value(prompt, "/prompt", "string"):
        return (), None
    if not prompt:
        check.add("Length of '/prompt' must be >= 1 not met")
    return (Turn("user", prompt),), prompt


def _read_numbers(check: Checker, model: GemmaModel, body: Mapping[str, Any]) -> dict[str, float]:
    ranges = dict(model.parameters or {})
    if "max_tokens" in ranges and not model.raw:
        ranges["max_completion_tokens"] = ranges["max_tokens"]
    ranges.setdefault("max_tokens", Range(low=1, integer=True))
    numbers = {key: check.get_number(body, key, allowed) for key, allowed in ranges.items()}
    found = {key: number for key, number in numbers.items() if number is not None}
    if "max_completion_tokens" in found:
        found["max_tokens"] = found["max_completion_tokens"]
    return found


def _read_options(check: Checker, model: GemmaModel, body: Mapping[str, Any]) -> None:
    """Check the fields that have no effect in the sandbox."""
    if model.raw:
        check.get_optional(body, "raw", "", "boolean")
        read_functions(check, body)
        lora = check.get_optional(body, "lora", "", "string")
        if lora is not None and not model.lora:
            raise ServiceError(LORA_UNSUPPORTED, f"The model {model.id} does not support LoRa inference")
    else:
        for name, types in _OPENAI_FIELDS.items():
            check.get_optional(body, name, "", *types)
    options = check.get_optional(body, "options", "", "object") or {}
    check.get_optional(options, "rejectIfBusy", "/options", "boolean")


def _read_include_usage(check: Checker, body: Mapping[str, Any]) -> bool:
    options = check.get_optional(body, "stream_options", "", "object") or {}
    return check.get_optional(options, "include_usage", "/stream_options", "boolean") is True


def _read_stop(check: Checker, model: GemmaModel, body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the stop sequences. A model whose schema has no `stop` ignores it, like all unknown fields."""
    if not model.stop:
        return ()
    stop = check.get_optional(body, "stop", "", "string", "array")
    stops = [stop] if isinstance(stop, str) else stop or []
    if len(stops) > model.stop:
        check.add(f"maxItems at '/stop' is {model.stop}, got {len(stops)}")
    return tuple(
        stop for index, stop in enumerate(stops) if check.check_value(stop, f"/stop/{index}", "string") and stop
    )


def _read_thinking(check: Checker, model: GemmaModel, body: Mapping[str, Any]) -> bool:
    if not model.thinking:
        return False
    kwargs = check.get_optional(body, "chat_template_kwargs", "", "object") or {}
    check.get_optional(kwargs, "clear_thinking", "/chat_template_kwargs", "boolean")
    return check.get_optional(kwargs, "enable_thinking", "/chat_template_kwargs", "boolean") is not False


def _refuse_tools(model: GemmaModel, body: Mapping[str, Any]) -> tuple[()]:
    if body.get("tools"):
        raise ServiceError(None, "No endpoints found that support tool use", status=404)
    if model.constraint is None and body.get("response_format", {"type": "text"}) != {"type": "text"}:
        raise ServiceError(None, "JSON mode is not enabled", status=400)
    return ()


def _explain(model: GemmaModel, body: Mapping[str, Any], problems: list[str]) -> list[str]:
    if not model.raw:
        return problems
    other = "prompt" if "messages" in body else "messages"
    missing = f"required properties at '/' are '{other}'"
    rest = [problem for problem in problems if problem != missing]
    return [f"oneOf at '/' not met, 0 matches: {missing}", *rest]
