"""Propose a value for a JSON Schema from the prompt, key by key, as a model would.

A proposal need not be valid: the grammar engine corrects it (`constrained_decoding`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .grammar import matches
from .hints import Hints, get_content_stems, get_stems, split_words, stem
from .schemas import collect_constants, list_branches, resolve
from .work_limit import MAX_ITEMS, MAX_STRING, make_too_complex_error, spend_steps

_STEPS_PER_VALUE = 25
_MAX_DEPTH = 10
_MAX_OPTIONAL_DEPTH = 5
"""From this depth on a value is as short as possible, so that recursive schemas end."""
_MAX_TEXT = 200
_MAX_DEFAULT_ITEMS = 5
_ANSWER_KEYS = frozenset({"answer", "reply", "response", "message", "content", "text", "final"})
EXAMPLES = {
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "date-time": "2026-01-01T12:00:00Z",
    "duration": "P1D",
    "email": "ann@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.com",
}
"""An example of each format, for prompts that contain none."""


class ValueFiller:
    """Fills one value. Each value of the prompt is used once.

    Attributes:
        hints: The values in the prompt.
        root: The whole schema, to resolve references.
        answer: The answer in plain text, for keys such as `answer`.
        called: The name and arguments of the call that is being written, if the schema describes calls.
        wanted: The calls to write.
        tools: The names of all tools, to distinguish a branch with calls from a branch with an answer.
    """

    def __init__(
        self,
        hints: Hints,
        root: Mapping[str, Any],
        *,
        answer: str = "",
        wanted: tuple[tuple[str, Mapping[str, Any]], ...] = (),
        tools: frozenset[str] = frozenset(),
    ) -> None:
        self.hints = hints
        self.root = root
        self.answer = answer
        self.wanted = wanted
        self.tools = tools
        self.called: tuple[str, Mapping[str, Any]] | None = None
        self._used: set[tuple[str, object]] = set()
        self._stems = get_content_stems(hints.text)

    def propose(self) -> Any:
        """Return a value for the whole schema, or `None` if the schema is not valid."""
        try:
            return self.fill(self.root)
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError):
            return None

    def fill(self, schema: object, key: str = "", depth: int = 0) -> Any:
        """Return a value for a schema and its key."""
        spend_steps(_STEPS_PER_VALUE)
        found = resolve(schema, self.root)
        if "const" in found:
            return found["const"]
        if self.called is not None and key in self.called[1]:
            return self.called[1][key]
        if isinstance(found.get("enum"), list) and found["enum"]:
            return self._choose_constant(found["enum"])
        options = list_branches(found)
        if options:
            return self.fill(self._choose_branch(options, key, depth), key, depth + 1) if depth < _MAX_DEPTH else None
        kind = found.get("type") or ("object" if "properties" in found else "array" if "items" in found else "string")
        return self._fill_type(str(kind), found, key, depth)

    def _fill_type(self, kind: str, schema: Mapping[str, Any], key: str, depth: int) -> Any:
        if kind == "object":
            return self._fill_object(schema, depth)
        if kind == "array":
            return self._fill_array(schema, key, depth)
        if kind in ("integer", "number"):
            return self._fill_number(schema, key, whole=kind == "integer")
        if kind == "boolean":
            return self._fill_boolean(schema, key)
        return None if kind == "null" else self._fill_string(schema, key)

    # --- choices ------------------------------------------------------------------------------------------------------
    def _choose_constant(self, options: list[Any]) -> Any:
        if self.called is not None and self.called[0] in options:
            return self.called[0]
        spend_steps(len(options))
        named = [option for option in options if self._is_mentioned(option)]
        return max(named, key=lambda option: len(str(option))) if named else options[0]

    def _is_mentioned(self, option: object) -> bool:
        if isinstance(option, int | float) and not isinstance(option, bool):
            return option in self.hints.numbers
        spelled = re.escape(str(option)).replace("_", "[_ -]").replace(r"\ ", "[_ -]")
        return bool(spelled) and re.search(rf"(?<!\w){spelled}(?!\w)", self.hints.text, re.IGNORECASE) is not None

    def _choose_branch(self, options: list[Any], key: str, depth: int) -> Any:
        nothing = [option for option in options if resolve(option, self.root).get("type") == "null"]
        if nothing and depth >= _MAX_OPTIONAL_DEPTH:
            return nothing[0]
        return max(enumerate(options), key=lambda pair: (self._score_branch(pair[1], key), -pair[0]))[1]

    def _score_branch(self, option: object, key: str) -> float:
        schema = resolve(option, self.root)
        if schema.get("type") == "null" or schema.get("const", "") is None:
            return 5 if self._is_negated(key) else -5
        texts = collect_constants(schema, self.root)
        if self.called is not None:
            return 20.0 if self.called[0] in texts else 0
        names = texts & self.tools
        if names:
            order = [name for name, _ in self.wanted if name in names]
            return 20.0 - [name for name, _ in self.wanted].index(order[0]) if order else -20.0
        described = get_content_stems(f"{schema.get('title', '')} {schema.get('description', '')} {' '.join(texts)}")
        numeric = schema.get("type") in ("integer", "number") and bool(self.hints.numbers)
        return len(described & self._stems) + 0.5 * numeric

    def _is_negated(self, key: str) -> bool:
        """Return whether the prompt excludes a key, as in `no cheese`."""
        spelled = r"\W+".join(map(re.escape, split_words(key)))
        negated = rf"\b(?:no|not|without|never|don't|exclude|skip)\W+(?:\w+\W+){{0,2}}{spelled}"
        return bool(spelled) and re.search(negated, self.hints.text, re.IGNORECASE) is not None

    # --- structures ---------------------------------------------------------------------------------------------------
    def _fill_object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or depth >= _MAX_DEPTH:
            return self._fill_free_object(schema) if not depth else {}
        required = schema.get("required") or ()
        return {
            name: self.fill(inner, name, depth + 1)
            for name, inner in properties.items()
            if name in required or (depth < _MAX_OPTIONAL_DEPTH and self._is_worth_filling(name, inner))
        }

    def _is_worth_filling(self, name: str, schema: object) -> bool:
        if self.called is not None:
            return name in self.called[1]
        if self._is_negated(name):
            return False
        if self._find_stated(name) is not None or {stem(word) for word in split_words(name)} & self._stems:
            return True
        found = resolve(schema, self.root)
        return any(
            self._is_mentioned(text)
            for option in (found, *list_branches(found))
            for text in collect_constants(option, self.root)
        )

    def _fill_free_object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return an object for a schema without properties. Its keys are the quoted keys in the prompt."""
        mentions_keys = re.search(r"\b(?:keys?|fields?|propert(?:y|ies)|json)\b", self.hints.text, re.IGNORECASE)
        keys = [key for key in self.hints.quoted if mentions_keys and re.fullmatch(r"[A-Za-z_][\w-]{0,40}", key)]
        inner = schema.get("additionalProperties")
        shape = inner if isinstance(inner, Mapping) else {"type": "string"}
        self._used.update(("string", key) for key in keys)
        return {key: self.fill(shape, key, 1) for key in keys or ("note",)}

    def _fill_array(self, schema: Mapping[str, Any], key: str, depth: int) -> list[Any]:
        fewest = schema.get("minItems", 0)
        if fewest > MAX_ITEMS:
            raise make_too_complex_error()
        most = min(schema.get("maxItems", _MAX_DEFAULT_ITEMS), max(_MAX_DEFAULT_ITEMS, fewest))
        prefix = schema.get("prefixItems")
        if isinstance(prefix, list):
            return [self.fill(item, key, depth + 1) for item in prefix]
        items = schema.get("items", {})
        if self.called is None and self.wanted and self.tools & collect_constants(items, self.root):
            return self._fill_calls(items, depth)[: max(most, 1)]
        if depth >= _MAX_DEPTH:
            return []
        found = [
            self.fill(items, key, depth + 1)
            for _ in range(max(fewest, min(1, most) if depth < _MAX_OPTIONAL_DEPTH else 0))
        ]
        kind = resolve(items, self.root).get("type")
        while len(found) < most and kind in ("string", "integer", "number") and self._has_left(str(kind)):
            found.append(self.fill(items, key, depth + 1))
        return found

    def _fill_calls(self, items: object, depth: int) -> list[Any]:
        found = []
        for call in self.wanted:
            self.called = call
            found.append(self.fill(items, "", depth + 1))
        self.called = None
        return found

    def _has_left(self, kind: str) -> bool:
        offered = [*self.hints.quoted, *self.hints.names] if kind == "string" else self.hints.numbers
        return any((_normalise_kind(kind), value) not in self._used for value in offered)

    # --- scalars ------------------------------------------------------------------------------------------------------
    def _fill_boolean(self, schema: Mapping[str, Any], key: str) -> bool:
        if self._is_negated(key):
            return False
        if {stem(word) for word in split_words(key)} & self._stems:
            return True
        return bool(schema.get("default", False))

    def _fill_number(self, schema: Mapping[str, Any], key: str, *, whole: bool) -> float:
        stated = self._find_stated(key)
        offered = [*self.hints.numbers]
        if stated is not None and re.fullmatch(r"-?\d+(?:\.\d+)?", stated):
            offered.insert(0, float(stated) if "." in stated else int(stated))
        for value in offered:
            if ("number", value) not in self._used and _is_within(value, schema, whole=whole):
                self._used.add(("number", value))
                return int(value) if whole else value
        default = schema.get("default", schema.get("examples", [None])[0] if schema.get("examples") else None)
        if isinstance(default, int | float) and not isinstance(default, bool):
            return default
        return _find_nearest(schema, whole=whole)

    def _fill_string(self, schema: Mapping[str, Any], key: str) -> str:
        form = str(schema.get("format"))
        fewest, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", _MAX_TEXT))
        if fewest > MAX_STRING:
            raise make_too_complex_error()
        candidates: list[str] = self._list_of_format(form) if form in EXAMPLES else self._list_candidates(key)
        for value in candidates:
            spend_steps()
            is_usable = fewest <= len(value) <= most and ("string", value) not in self._used
            if is_usable and matches(value, schema.get("pattern")):
                self._used.add(("string", value))
                return value
        if form in EXAMPLES:
            return EXAMPLES[form]
        if isinstance(schema.get("default"), str):
            return str(schema["default"])
        text = f"{' '.join(split_words(key)).capitalize() or 'Text'} about {self.hints.topic}"
        return text[:most].rstrip().ljust(fewest, ".")

    def _list_of_format(self, form: str) -> list[str]:
        hints = self.hints
        found: dict[str, list[str]] = {
            "date": hints.dates,
            "date-time": [f"{date}T12:00:00Z" for date in hints.dates],
            "time": [f"{time.zfill(5)}:00Z"[:9] for time in hints.times],
            "email": hints.emails,
            "uri": hints.urls,
        }
        return found.get(form, [])

    def _list_candidates(self, key: str) -> list[str]:
        """Return texts for a key, the most likely first."""
        hints = self.hints
        stated = self._find_stated(key)
        stems = {stem(word) for word in split_words(key)}
        found = [stated] if stated is not None else []
        if self.answer and set(split_words(key)) & _ANSWER_KEYS:
            found.append(self.answer)
        for key_stems, select in _PREFERRED_HINTS:
            if stems & key_stems:
                found += select(hints)
        for key_stems, select in _ONLY_HINTS:
            if stems & key_stems:
                return [*found, *select(hints)]
        return [*found, *hints.quoted, *hints.names, *hints.expressions, *hints.dates, *hints.times, *hints.phrases]

    def _find_stated(self, key: str) -> str | None:
        """Return the value that the prompt states for a key, as in `unit: celsius`, `limit 5` or `named 'Ann'`."""
        spelled = r"[\s_-]+".join(map(re.escape, split_words(key)))
        if not spelled:
            return None
        found = re.search(
            rf"\b{spelled}\b(?:\s*[:=]\s*|\s+(?:is|of|named|called|to|as)\s+|\s+(?=[\d'\"]))"
            r"(?:the\s+)?(?:'([^'\n]+)'|\"([^\"\n]+)\"|([^\s,.;:!?'\"()]+(?:\.\d+)?))",
            self.hints.text,
            re.IGNORECASE,
        )
        return next((group for group in found.groups() if group), None) if found else None


_SelectHints = Callable[[Hints], list[str]]
# Hints for the words of a key. These come before all other hints:
_PREFERRED_HINTS: tuple[tuple[frozenset[str], _SelectHints], ...] = (
    (get_stems("email mail"), lambda hints: hints.emails),
    (get_stems("url uri link website"), lambda hints: hints.urls),
    (get_stems("date day"), lambda hints: hints.dates),
    (get_stems("time hour"), lambda hints: hints.times),
    (get_stems("expression formula equation"), lambda hints: hints.expressions),
    (get_stems("body message content text note reminder announcement"), lambda hints: hints.dictated_texts),
)
# The first of these whose words match a key replaces all other hints:
_ONLY_HINTS: tuple[tuple[frozenset[str], _SelectHints], ...] = (
    (
        get_stems("description summary reason explanation details note comment reasoning rationale"),
        lambda hints: [_shorten(hints.text)],
    ),
    (
        get_stems("query question search text prompt input task request content sentence body"),
        lambda hints: [*hints.quoted, _shorten(hints.text)],
    ),
    (
        get_stems("city location place town country region destination origin state address area"),
        lambda hints: [*hints.names, *hints.quoted, *hints.phrases],
    ),
    (
        get_stems("name title customer person user author company product subject style"),
        lambda hints: [*hints.quoted, *hints.names, *hints.phrases],
    ),
)


def _normalise_kind(kind: str) -> str:
    return "string" if kind == "string" else "number"


def _shorten(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _MAX_TEXT else plain[: _MAX_TEXT - 1].rstrip() + "…"


def _is_within(value: float, schema: Mapping[str, Any], *, whole: bool) -> bool:
    if whole and value != int(value):
        return False
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    step = schema.get("multipleOf")
    return (
        (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or isinstance(above, bool) or value > above)
        and (below is None or isinstance(below, bool) or value < below)
        and (not step or value % step == 0)
    )


def _find_nearest(schema: Mapping[str, Any], *, whole: bool) -> float:
    """Return the number closest to 1 that the bounds allow."""
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    value: float = 1
    if isinstance(low, int | float) and value < low:
        value = low + ("exclusiveMinimum" in schema)
    if isinstance(high, int | float) and value > high:
        value = high - ("exclusiveMaximum" in schema)
    if schema.get("multipleOf"):
        value = schema["multipleOf"] * max(1, value // schema["multipleOf"])
    return int(value) if whole else value
