"""Render the messages of a request as Gemma's chat template does, with special tokens separated from text.

This is the logic of the templates that Google publishes with the weights (docs/wire.md sections 6 and 11), in Python,
because the sandbox neither contains nor downloads the originals.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.sandbox.validation.declarations import find_hidden

from .prompt_writer import GEMMA_3_TOKENS, GEMMA_4_TOKENS, PromptWriter, RenderedPrompt, TemplateRefusedError
from .tool_prompts import Gemma4Template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_workers_gemma.models import GemmaModel

_ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
_NO_SYSTEM_ROLE = "System role not supported"
_THINKING_UNKNOWN = (
    "The request does not set chat_template_kwargs.enable_thinking. Public sources disagree about the default. The "
    "sandbox uses true, as in the type definitions of the service."
)
_TOOLS_NOT_SHOWN = (
    "The chat template of this generation does not support tools, so `tools` is not part of the prompt. It is unknown "
    "what the service does with it."
)
_MAX_HIDDEN_NOTES = 20
"""Maximum number of notes about keywords that the template does not show."""
_RAW_NOTE = "`raw` is true: the prompt goes to the model unchanged, without a chat template."


def render_prompt(model: GemmaModel, body: Mapping[str, Any]) -> RenderedPrompt:
    """Render the prompt that a model would read.

    Args:
        model: The published facts about the model.
        body: The chat input: `messages` or `prompt`, `tools`, `chat_template_kwargs`. Values of wrong types are
            ignored.

    Returns:
        The prompt in segments. If the template raises, the segments end at that point and `refusal` is the reason.
    """
    tokens = GEMMA_4_TOKENS if model.tool_role else GEMMA_3_TOKENS
    writer = PromptWriter(tokens)
    notes: list[str] = []
    prompt = body.get("prompt")
    if isinstance(prompt, str) and "messages" not in body:
        if body.get("raw") is True:
            writer.write_token("<bos>")
            writer.write_content(prompt)
            return writer.finish([_RAW_NOTE])
        body = {**body, "messages": [{"role": "user", "content": prompt}]}
    messages = _list_objects(body.get("messages"))
    try:
        if model.tool_role:
            thinking, note = _read_thinking(model, body)
            notes += note
            tools = _list_objects(body.get("tools"))
            notes += _list_hidden_keywords(tools)
            Gemma4Template(writer).render(messages, tools, thinking=thinking)
        else:
            notes += [_TOOLS_NOT_SHOWN] if body.get("tools") else []
            _TurnTemplate(writer, system_role=model.system_role).render(messages)
    except TemplateRefusedError as error:
        return writer.finish(notes, refusal=str(error))
    return writer.finish(notes)


def _list_objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _list_hidden_keywords(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a note for each rule of a tool that the prompt does not show (docs/wire.md section 11)."""
    functions = [tool["function"] if isinstance(tool.get("function"), dict) else tool for tool in tools]
    problems = (
        problem
        for index, function in enumerate(functions)
        if isinstance(parameters := function.get("parameters"), dict)
        for problem in find_hidden(parameters, str(function.get("description") or ""), f"tools[{index}]")
    )
    return [f"{problem}." for problem in islice(problems, _MAX_HIDDEN_NOTES)]


def _read_thinking(model: GemmaModel, body: Mapping[str, Any]) -> tuple[bool, list[str]]:
    kwargs = body.get("chat_template_kwargs")
    enabled = kwargs.get("enable_thinking") if isinstance(kwargs, dict) else None
    if isinstance(enabled, bool):
        return enabled, []
    return model.thinking, [_THINKING_UNKNOWN] if model.thinking else []


@dataclass(frozen=True, slots=True)
class _TurnTemplate:
    """The template of Gemma 1 to 3: alternating turns, and at most one system message before them.

    Attributes:
        writer: Receives the prompt.
        system_role: Whether a system message becomes part of the first user turn (Gemma 3) or is refused (Gemma 1, 2).
    """

    writer: PromptWriter
    system_role: bool

    def render(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Write the prompt.

        Raises:
            TemplateRefusedError: If the template raises.
        """
        writer = self.writer
        writer.write_token("<bos>")
        prefix = ""
        if messages and messages[0].get("role") == "system":
            if not self.system_role:
                raise TemplateRefusedError(_NO_SYSTEM_ROLE)
            prefix = _get_first_text(messages[0].get("content"))
            messages = messages[1:]
        for index, message in enumerate(messages):
            role = message.get("role")
            if (role == "user") != (index % 2 == 0):
                raise TemplateRefusedError(f"{_ALTERNATE} (message {index + 1}, role {role!r})")
            self._write_turn(message, "model" if role == "assistant" else str(role), prefix if index == 0 else "")
        writer.write_token("<start_of_turn>")
        writer.write_template("model\n")

    def _write_turn(self, message: Mapping[str, Any], role: str, prefix: str) -> None:
        writer = self.writer
        writer.write_token("<start_of_turn>")
        writer.write_template(f"{role}\n")
        if prefix:
            writer.write_content(prefix)
            writer.write_template("\n\n")
        content = message.get("content")
        if isinstance(content, str):
            writer.write_content(content.strip())
        for part in _list_objects(content):
            if is_image(part):
                writer.write_token("<start_of_image>")
            elif isinstance(part.get("text"), str):
                writer.write_content(part["text"].strip())
        writer.write_token("<end_of_turn>")
        writer.write_template("\n")


def is_image(part: Mapping[str, Any]) -> bool:
    """Return whether a content part is an image."""
    return part.get("type") in ("image", "image_url")


def _get_first_text(content: object) -> str:
    """Return the text of a system message. Of a list, the template of Gemma 3 uses only the first part."""
    if isinstance(content, str):
        return content
    first = next(iter(_list_objects(content)), {}).get("text")
    return first if isinstance(first, str) else ""
