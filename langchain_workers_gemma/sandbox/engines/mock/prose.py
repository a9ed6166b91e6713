"""Write the replies of the mock model: short sentences made from the prompt and the results of tools."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .answer_form import calculate, find_exact_answer
from .hints import get_content_stems, read_hints
from .sentences import write_about

if TYPE_CHECKING:
    import random

    from langchain_workers_gemma.sandbox.images import Image

    from .conversation import Conversation, Result

_MAX_RESULT_WORDS = 120
_MAX_TOPIC_WORDS = 12
_MAX_FOCUS = 400
_MAX_MATERIAL = 20_000
"""Maximum number of characters, at the end of a prompt, that are searched for an answer."""
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?=\s|$)|\.(?=\S)[^.!?\n]*)*[.!?]*")
_GREETING = re.compile(r"^\W*(?:hello|hi|hey|good (?:morning|evening|day|afternoon)|greetings)\b", re.IGNORECASE)
_THANKS = re.compile(r"\b(?:thanks|thank you|cheers)\b", re.IGNORECASE)
_IDENTITY = re.compile(
    r"\b(?:who|what|which (?:ai |language )?model) are you\b|\bare you (?:gemma|an? (?:ai|bot|model))\b", re.IGNORECASE
)
_PRESENCE = re.compile(
    r"^\W*(?:are you (?:there|ready|ok|awake)|is (?:anybody|anyone) there|who is there|ping)\b", re.IGNORECASE
)
_HANDED_TEXT = re.compile(
    r"^\W*(?:please )?(summari[sz]e|translate|proofread|correct|rewrite|rephrase|shorten)\b[^:\n]{0,80}[:\n]\s*(\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_MAX_SMALL_TALK = 60
_NOT_A_FACT = re.compile(
    r"^\s*(?:answer|explain|describe|tell|write|give|list|name|summar|translate|please|use|you are|question|call|reply|"
    r"respond|return|what|who|why|how|when|where|which|is|are|do|does|can|could|would|classify)\b",
    re.IGNORECASE,
)
_FRAME = re.compile(
    r"^(?:\W*(?:please|now|and|so|then|also)\b[,\s]*)*"
    r"(?:(?:can|could|would|will) you (?:please )?)?"
    r"(?:(?:explain|describe|summari[sz]e|define|discuss|outline|introduce|tell(?: me)?|write|compose|give(?: me)?|say|"
    r"talk|think|speak|teach(?: me)?|show(?: me)?|help(?: me)?(?: with)?|what(?:'s| is| are| was| were)|"
    r"who(?:'s| is| are| was| were))\s+)"
    r"(?:(?:me|us)\s+)?(?:(?:something|anything|more|a bit|a little|briefly|shortly)\s+)*"
    r"(?:(?:a|an|one|two|three|four|five|six|ten|\d+)\s+(?:\w+\s+){0,2}?"
    r"(?:words?|sentences?|paragraphs?|lines?|pages?|haikus?|poems?|stor(?:y|ies)|essays?|jokes?|text|note|summary|"
    r"explanation|overview)\s+)?(?:(?:about|on|of|regarding)\s+)?",
    re.IGNORECASE,
)
_LENGTH_WISH = re.compile(
    r"[,\s]*\b(?:in|using|with|within|at)\s+(?:(?:a|an|one|two|three|about|at|most|no|more|than|few|\d+)\s+)+"
    r"(?:\w+\s+)?(?:words?|sentences?|paragraphs?|lines?)(?:\s+or\s+(?:less|fewer))?\b"
    r"|\s+(?:in detail|briefly|please)\b",
    re.IGNORECASE,
)


def write_answer(conversation: Conversation, rng: random.Random) -> str:
    """Write the reply to the last question."""
    results = [result for result in conversation.results if not result.hands_off]
    material = "\n".join(result.text for result in results) if results else conversation.question
    exact = find_exact_answer(
        conversation.question[-_MAX_MATERIAL:], conversation.system, material[-_MAX_MATERIAL:], rng
    )
    if exact is not None:
        return exact
    if results:
        return " ".join(_report(result) for result in results)
    if conversation.results and conversation.answered:  # after a hand-off, another agent has answered
        return conversation.answered[-1]
    images = [_describe(image) for image in conversation.images]
    if images and not _GREETING.match(conversation.question):
        return " ".join(images)
    return " ".join([*images, _write_answer_text(conversation, rng)])


def write_reasoning(conversation: Conversation) -> str:
    """Write the reasoning of the mock model before its reply."""
    names = dict.fromkeys(result.name or "a tool" for result in conversation.results)
    if names:
        return f"I have the result of {_join_items(list(names))}, so I can go on."
    topic = find_topic(conversation.question)
    return f"The user asks about {topic}. I will look at what is needed." if topic else "There is no question yet."


def find_topic(question: str) -> str:
    """Return the topic of a question, as a phrase that fits into a sentence."""
    focus = _find_focus(question)
    without_length = _LENGTH_WISH.sub("", focus[:_MAX_FOCUS]).strip()
    bare = without_length.strip(" .!?:;")
    topic = _FRAME.sub("", bare, count=1).strip(" .!?:;,")
    if topic and topic != bare and len(topic.split()) <= _MAX_TOPIC_WORDS:
        return topic
    if not bare:
        return ""
    shown = _shorten(bare)  # a whole sentence fits into another one only as a quotation
    return f"“{shown}?”" if without_length.endswith("?") and shown == bare else f"“{shown}”"


# --- from the prompt --------------------------------------------------------------------------------------------------
def _write_answer_text(conversation: Conversation, rng: random.Random) -> str:
    question = conversation.question
    if not question.strip():
        return "There is no question yet. What would you like to know?"
    small_talk = _write_small_talk(question, rng) if len(question) <= _MAX_SMALL_TALK else None
    if small_talk is not None:
        return small_talk
    value = calculate(question)
    if value is not None:
        return f"{read_hints(question).expressions[0]} is {value}."
    handed = _HANDED_TEXT.match(question)
    if handed is not None:
        text = _find_first_sentence(handed[2])
        return f"In short: {text}" if handed[1].lower().startswith("summ") else text
    known = _find_known_fact(conversation)
    return known if known is not None else write_about(find_topic(question), question, rng)


def _write_small_talk(question: str, rng: random.Random) -> str | None:
    if _IDENTITY.search(question):
        return "I am the sandbox's mock model, which answers in place of a Gemma."
    if _PRESENCE.match(question):
        return "Yes, I am here."
    if _GREETING.match(question):
        return rng.choice(("Hello! How can I help you?", "Hello! What can I do for you today?"))
    return "You are welcome. Is there anything else?" if _THANKS.search(question) else None


def _find_first_sentence(text: str) -> str:
    found = _SENTENCE.search(text[:_MAX_MATERIAL])
    return found.group().strip() if found is not None else text.strip()


def _find_known_fact(conversation: Conversation) -> str | None:
    """Return the sentence of the prompt, or of an earlier message, that shares the most words with the question."""
    material = conversation.question[-_MAX_MATERIAL:]
    focus = _find_focus(material)
    wanted = get_content_stems(focus)
    if not focus.endswith("?") or not wanted:
        return None
    here = _choose_best(wanted, _list_statements(material.replace(focus, " ")))
    if here is not None:
        return here
    earlier = _choose_best(
        wanted, [sentence for text in conversation.earlier for sentence in _list_statements(text[-_MAX_MATERIAL:])]
    )
    return f"You said: “{earlier}”" if earlier is not None else None


def _list_statements(text: str) -> list[str]:
    sentences = (found.group().strip() for found in _SENTENCE.finditer(text))
    return [
        sentence
        for sentence in sentences
        if sentence and not sentence.endswith(("?", ":")) and not _NOT_A_FACT.match(sentence)
    ]


def _choose_best(wanted: set[str], statements: list[str]) -> str | None:
    scored = [
        (len(wanted & get_content_stems(statement)), -index, statement) for index, statement in enumerate(statements)
    ]
    best = max(scored, default=None)
    return best[2] if best is not None and 2 * best[0] >= len(wanted) and best[0] else None


def _find_focus(question: str) -> str:
    """Return the main sentence of a prompt: the last question, or the first sentence."""
    sentences = [found.group().strip() for found in _SENTENCE.finditer(question[-_MAX_MATERIAL:])]
    questions = [sentence for sentence in sentences if sentence.endswith("?")]
    focus = questions[-1] if questions else next((sentence for sentence in sentences if sentence), "")
    return re.sub(r"^(?:question|q|user|human)\s*:\s*", "", focus, flags=re.IGNORECASE)


def _describe(image: Image) -> str:
    return f"I see a {image.format} image of {image.width} by {image.height} pixels."


def _shorten(text: str, most: int = _MAX_TOPIC_WORDS) -> str:
    found = text.split()
    return " ".join(found[:most]) + (" …" if len(found) > most else "")


# --- from results -----------------------------------------------------------------------------------------------------
def _report(result: Result) -> str:
    """Write a sentence about the result of a tool."""
    name = result.name or "the tool"
    if result.failed:
        return f"I could not finish that: {name} reported “{_show(result.text)}”."
    if result.images:
        described = [f"a {image.format} image of {image.width} by {image.height} pixels" for image in result.images]
        return f"The result of {name} is {_join_items(described)}."
    value = _parse(result.text)
    if isinstance(value, Mapping | list):
        return f"According to {name}: {_to_readable(value)}."
    text = _show(value if isinstance(value, str) else result.text)
    return f"According to {name}: {text}{'' if text.endswith(('.', '!', '?', '…')) else '.'}"


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _show(text: str) -> str:
    return _shorten(text, _MAX_RESULT_WORDS).rstrip(".") or "no output"


def _to_readable(value: Any, depth: int = 0) -> str:
    """Return a JSON value in words."""
    if depth > 2:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        pairs = [f"{str(key).replace('_', ' ')} is {_to_readable(inner, depth + 1)}" for key, inner in value.items()]
        return _join_items(pairs) if pairs else "nothing"
    if isinstance(value, list):
        return _join_items([_to_readable(inner, depth + 1) for inner in value[:20]]) or "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else _shorten(str(value), _MAX_RESULT_WORDS)


def _join_items(items: list[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
