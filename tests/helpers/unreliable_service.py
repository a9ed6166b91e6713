"""A service that refuses, ignores, truncates or misplaces each form of constraint, and counts its requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import httpx
import respx

from tests.helpers.mock_service import encode_sse, make_completion, make_usage

Habit: TypeAlias = Literal[
    "accepts",
    "refuses",
    "fails",
    "has no endpoint",
    "writes plain text",
    "writes nothing",
    "ignores the schema",
    "truncates",
    "only reasons",
    "writes a fence",
    "loops",
]
"""How the service responds to a request with one form of constraint."""

Calls: TypeAlias = Sequence[tuple[str, Mapping[str, Any]]]


def get_constraint_form(body: Mapping[str, Any]) -> str:
    """Return which form of constraint a request has."""
    if "guided_json" in body:
        return "guided_object" if body["guided_json"] == {"type": "object"} else "guided_json"
    response_format = body.get("response_format")
    if response_format is None:
        return "prompt"
    if response_format["type"] == "json_object":
        return "object_with_schema" if "schema" in response_format else "json_object"
    return "openai_schema" if "name" in response_format["json_schema"] else "bare_schema"


class UnreliableService:
    """Answers through respx, by the habit for the form of constraint in each request.

    Args:
        router: The router that receives the requests.
        habits: How it responds to each form. A form without a habit is accepted.
        right: The JSON text of a reply that matches the schema.
        wrong: The JSON text of a reply that does not.
    """

    def __init__(
        self, router: respx.MockRouter, habits: Mapping[str, Habit], right: str, wrong: str = '{"other": 1}'
    ) -> None:
        self.habits = dict(habits)
        self.right = right
        self.wrong = wrong
        self.bodies: list[dict[str, Any]] = []
        self.calls: Callable[[dict[str, Any]], Calls] = lambda _body: ()
        self.refusal = "Grammar error: not supported"
        router.route().mock(side_effect=self._answer)

    @property
    def constraint_forms(self) -> list[str]:
        """The form of constraint in each request."""
        return list(map(get_constraint_form, self.bodies))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        body = body.get("data", body)
        self.bodies.append(body)
        habit = self.habits.get(get_constraint_form(body), "accepts")
        if habit == "refuses":
            errors = [{"code": 5006, "message": self.refusal}]
            return httpx.Response(400, json={"success": False, "result": None, "errors": errors})
        if habit == "has no endpoint":
            message = "No endpoints found that can handle the requested parameters."
            return httpx.Response(404, json={"error": {"message": message, "code": 404}})
        if habit == "fails":
            return self._fail(body)
        calls = self.calls(body)
        content, reason = ("", "tool_calls") if calls else self._write_reply(habit)
        return self._reply(body, content, reason, calls)

    def _fail(self, body: dict[str, Any]) -> httpx.Response:
        """Fail as vLLM does: with an error event after status 200 in a stream, with a 500 otherwise."""
        error = {"error": {"message": self.refusal, "type": "InternalServerError", "code": 500}}
        if not body.get("stream"):
            return httpx.Response(500, json=error)
        role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
        return httpx.Response(
            200, headers={"content-type": "text/event-stream"}, content=encode_sse(role, error, "[DONE]")
        )

    def _write_reply(self, habit: Habit) -> tuple[dict[str, Any] | str, str]:
        if habit == "truncates":
            return self.right[:-3], "length"
        if habit == "loops":
            return self.right[:-3] + "\n" * 200, "length"
        if habit == "only reasons":
            return {"content": None, "reasoning": f"Perhaps {self.wrong}? No: {self.right}"}, "stop"
        content = {
            "writes plain text": "It is Ada, who is 36.",
            "writes nothing": "",
            "ignores the schema": self.wrong,
            "writes a fence": f"Sure:\n```json\n{self.right}\n```",
        }
        return content.get(habit, self.right), "stop"

    def _reply(self, body: dict[str, Any], content: dict[str, Any] | str, reason: str, calls: Calls) -> httpx.Response:
        message: dict[str, Any] = dict(content) if isinstance(content, dict) else {"content": content}
        if calls:
            message["tool_calls"] = [
                {
                    "index": index,
                    "id": f"call_{len(self.bodies)}_{index}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(arguments)},
                }
                for index, (name, arguments) in enumerate(calls)
            ]
        if not body.get("stream"):
            result = make_completion(finish_reason=reason, usage=make_usage(10, 5), **message)
            return httpx.Response(200, json={"success": True, "result": result})
        events = [_make_event(piece, None) for piece in _split_message(message)]
        events += [_make_event({}, reason), {"choices": [], "usage": make_usage(10, 5)}]
        stream = encode_sse(*events, "[DONE]")
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)


def _make_event(delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def _split_message(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Split a message into the deltas of a stream, with five characters of text in each."""
    pieces = [
        {key: text[start : start + 5]}
        for key in ("reasoning", "content")
        for text in [message.get(key) or ""]
        for start in range(0, len(text), 5)
    ]
    return pieces + ([{"tool_calls": message["tool_calls"]}] if "tool_calls" in message else [])
