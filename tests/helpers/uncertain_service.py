"""A service that refuses, ignores, truncates or misplaces each form of constraint, and counts its requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import httpx
import respx

from tests.helpers.asking import message_reply, sse, usage

Habit: TypeAlias = Literal[
    "takes",
    "refuses",
    "fails",
    "finds no endpoint",
    "says prose",
    "says nothing",
    "misfits",
    "cuts",
    "thinks only",
    "fences",
    "loops",
]
"""What the service does with a request in one form."""

Calls: TypeAlias = Sequence[tuple[str, Mapping[str, Any]]]


def form_of(body: Mapping[str, Any]) -> str:
    """The form of the constraint in a request."""
    if "guided_json" in body:
        return "guided_object" if body["guided_json"] == {"type": "object"} else "guided_json"
    wanted = body.get("response_format")
    if wanted is None:
        return "prompt"
    if wanted["type"] == "json_object":
        return "object_with_schema" if "schema" in wanted else "json_object"
    return "openai_schema" if "name" in wanted["json_schema"] else "bare_schema"


class UncertainService:
    """Answers through respx by its habit for the form of each request; `right` and `wrong` are its JSON texts.

    Args:
        router: Where requests arrive.
        habits: What it does with each form; a form that is not named is taken.
        right: The text of an answer that fits.
        wrong: The text of one that does not.
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
    def forms(self) -> list[str]:
        """The form of each request."""
        return list(map(form_of, self.bodies))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)
        body = sent.get("data", sent)
        self.bodies.append(body)
        habit = self.habits.get(form_of(body), "takes")
        if habit == "refuses":
            errors = [{"code": 5006, "message": self.refusal}]
            return httpx.Response(400, json={"success": False, "result": None, "errors": errors})
        if habit == "finds no endpoint":
            words = "No endpoints found that can handle the requested parameters."
            return httpx.Response(404, json={"error": {"message": words, "code": 404}})
        if habit == "fails":
            return self._failure(body)
        calls = self.calls(body)
        said, reason = ("", "tool_calls") if calls else self._says(habit)
        return self._reply(body, said, reason, calls)

    def _failure(self, body: dict[str, Any]) -> httpx.Response:
        """As vLLM fails: an error event under status 200 in a stream, a 500 otherwise."""
        error = {"error": {"message": self.refusal, "type": "InternalServerError", "code": 500}}
        if not body.get("stream"):
            return httpx.Response(500, json=error)
        role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=sse(role, error, "[DONE]"))

    def _says(self, habit: Habit) -> tuple[dict[str, Any] | str, str]:
        if habit == "cuts":
            return self.right[:-3], "length"
        if habit == "loops":
            return self.right[:-3] + "\n" * 200, "length"
        if habit == "thinks only":
            return {"content": None, "reasoning": f"Perhaps {self.wrong}? No: {self.right}"}, "stop"
        said = {
            "says prose": "It is Ada, who is 36.",
            "says nothing": "",
            "misfits": self.wrong,
            "fences": f"Sure:\n```json\n{self.right}\n```",
        }
        return said.get(habit, self.right), "stop"

    def _reply(self, body: dict[str, Any], said: dict[str, Any] | str, reason: str, calls: Calls) -> httpx.Response:
        message: dict[str, Any] = dict(said) if isinstance(said, dict) else {"content": said}
        if calls:
            message["tool_calls"] = [
                {
                    "index": at,
                    "id": f"call_{len(self.bodies)}_{at}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(arguments)},
                }
                for at, (name, arguments) in enumerate(calls)
            ]
        if not body.get("stream"):
            result = message_reply(finish_reason=reason, usage=usage(10, 5), **message)
            return httpx.Response(200, json={"success": True, "result": result})
        frames = [_event(piece, None) for piece in _pieces(message)]
        frames += [_event({}, reason), {"choices": [], "usage": usage(10, 5)}]
        content = sse(*frames, "[DONE]")
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)


def _event(delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def _pieces(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message as the deltas of a stream, texts in pieces of five characters."""
    pieces = [
        {key: text[at : at + 5]}
        for key in ("reasoning", "content")
        for text in [message.get(key) or ""]
        for at in range(0, len(text), 5)
    ]
    return pieces + ([{"tool_calls": message["tool_calls"]}] if "tool_calls" in message else [])
