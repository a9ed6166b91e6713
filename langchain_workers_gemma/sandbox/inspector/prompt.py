"""Render a request's messages as Gemma's chat template does, split so that special tokens are distinguished from text.

The templates are those that Google publishes with the weights (docs/wire.md sections 6 and 11). They are written here
as Python, because the sandbox neither holds nor fetches the originals.
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
    "The request does not set chat_template_kwargs.enable_thinking. Public sources disagree about the default; the "
    "sandbox, as the service's type definitions, takes it as true."
)
_TOOLS_NOT_SHOWN = (
    "This generation's template has no place for tools, so `tools` is not part of the prompt. Nobody knows what the "
    "service does with it."
)
_MAX_HIDDEN = 20
"""Notes on keywords that the template does not show."""
_RAW = "`raw` is true: the prompt goes to the model as it is, without a chat template."


def render_prompt(model: GemmaModel, body: Mapping[str, Any]) -> RenderedPrompt:
    """Render the prompt that a model would read.

    Args:
        model: The published facts about the model.
        body: The chat input: `messages` or `prompt`, `tools`, `chat_template_kwargs`. Values of wrong types are left
            out, never an error.

    Returns:
        The prompt in segments. Where the template would raise, the segments end there and `refusal` is the reason.
    """
    tokens = GEMMA_4_TOKENS if model.tool_role else GEMMA_3_TOKENS
    writer = PromptWriter(tokens)
    notes: list[str] = []
    prompt = body.get("prompt")
    if isinstance(prompt, str) and "messages" not in body:
        if body.get("raw") is True:
            writer.write_token("<bos>")
            writer.write_content(prompt)
            return writer.finish([_RAW])
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
    """Return what the template does not show of tools, and no description states (docs/wire.md section 11)."""
    functions = [one["function"] if isinstance(one.get("function"), dict) else one for one in tools]
    found = (
        problem
        for at, function in enumerate(functions)
        if isinstance(parameters := function.get("parameters"), dict)
        for problem in find_hidden(parameters, str(function.get("description") or ""), f"tools[{at}]")
    )
    return [f"{problem}." for problem in islice(found, _MAX_HIDDEN)]


def _read_thinking(model: GemmaModel, body: Mapping[str, Any]) -> tuple[bool, list[str]]:
    kwargs = body.get("chat_template_kwargs")
    asked = kwargs.get("enable_thinking") if isinstance(kwargs, dict) else None
    if isinstance(asked, bool):
        return asked, []
    return model.thinking, [_THINKING_UNKNOWN] if model.thinking else []


@dataclass(frozen=True, slots=True)
class _TurnTemplate:
    """The template of Gemma 1 to 3: turns that alternate, and at most one system message before them.

    Attributes:
        writer: Takes the prompt.
        system_role: Whether a leading system message goes into the first user turn (Gemma 3) or is refused (1 and 2).
    """

    writer: PromptWriter
    system_role: bool

    def render(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Write the prompt.

        Raises:
            TemplateRefusedError: Where the template raises.
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
    """Return a system message's text: the template of Gemma 3 reads the first part of a list and no more."""
    if isinstance(content, str):
        return content
    first = next(iter(_list_objects(content)), {}).get("text")
    return first if isinstance(first, str) else ""
