"""Read the replies of a finished batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage

from langchain_workers_gemma.batch.job import BatchPart
from langchain_workers_gemma.batch.requests import BatchPlan
from langchain_workers_gemma.errors import InternalServerError, WorkersGemmaError
from langchain_workers_gemma.exchange.call import JsonResponse
from langchain_workers_gemma.exchange.chat import chat_exchange
from langchain_workers_gemma.exchange.request import Plan
from langchain_workers_gemma.json_text.encoding import encode_json
from langchain_workers_gemma.transport.replay import replay

Outcome: TypeAlias = AIMessage | WorkersGemmaError
"""The message for one input, or the error of that input."""


def read_answers(batch_plan: BatchPlan, part: BatchPart, answer: JsonResponse) -> list[Outcome]:
    """Return the outcomes of one payload. The `id` of each reply is the index of its input.

    Raises:
        InternalServerError: If a reply is missing, appears twice or has no valid id.
    """
    responses = answer.result["responses"]
    by_id: dict[int, Mapping[str, Any]] = {}
    for response in responses if isinstance(responses, list) else ():
        index = _parse_index(response.get("id")) if isinstance(response, dict) else None
        if index is None or not 0 <= index < part.count:
            raise answer.make_unreadable_error("a reply of the batch has no id, or an id that no input has")
        if index in by_id:
            raise answer.make_unreadable_error(f"two replies of the batch have the id {index}")
        by_id[index] = response
    if not by_id:
        raise _make_missing_error(answer, 0, part, 0)
    return [
        _read_outcome(batch_plan.plan, part, index, by_id[index])
        if index in by_id
        else _make_missing_error(answer, len(by_id), part, index)
        for index in range(part.count)
    ]


def _make_missing_error(answer: JsonResponse, count: int, part: BatchPart, index: int) -> InternalServerError:
    return answer.make_unreadable_error(
        f"the batch has {count} replies for {part.count} inputs: the reply to input {index} is missing"
    )


def _parse_index(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read_outcome(plan: Plan, part: BatchPart, index: int, response: Mapping[str, Any]) -> Outcome:
    result = response.get("result")
    if response.get("success") is False or ("result" not in response and response.get("error")):
        error_fields = result if isinstance(result, dict) else {"message": result}
        other_fields = {key: value for key, value in response.items() if key != "result"}
        payload = {**other_fields, **error_fields, "success": False}
    else:
        payload = {"result": _remove_call_ids(result), "success": True}
    try:
        message = replay(chat_exchange(plan), encode_json(payload), {"x-request-id": part.request_id})
    except WorkersGemmaError as error:
        return error
    message.id = f"{part.request_id}-{index}"
    return message


def _remove_call_ids(result: object) -> object:
    """Remove the ids of tool calls, so that each call gets a new id that is unique in every conversation."""
    if not isinstance(result, dict):
        return result
    changed = dict(result)
    if isinstance(result.get("tool_calls"), list):
        changed["tool_calls"] = [_remove_id(tool_call) for tool_call in result["tool_calls"]]
    choices = result.get("choices")
    if isinstance(choices, list):
        changed["choices"] = [
            {**choice, "message": _remove_call_ids(choice["message"])} if _has_message(choice) else choice
            for choice in choices
        ]
    return changed


def _has_message(choice: object) -> bool:
    return isinstance(choice, dict) and "message" in choice


def _remove_id(tool_call: object) -> object:
    return {**tool_call, "id": None} if isinstance(tool_call, dict) else tool_call
