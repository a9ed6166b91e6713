"""Write a stream event by event, as the service does or as a dialect has it (docs/wire.md section 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.sandbox.chat import CallDelta, Completion, Delta, End, ReasoningDelta, TextDelta
from langchain_workers_gemma.sandbox.tokens import count_tokens

from .frames import close_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .replies import Layout

Event = dict[str, Any]


async def write_events(layout: Layout, choices: list[AsyncIterator[Delta]]) -> AsyncIterator[Event]:
    """Yield the events of a streamed reply, without the `[DONE]`."""
    writer = _make_writer(layout)
    ends: list[Completion] = []
    for index, deltas in enumerate(choices):
        writer.index = index
        async with close_stream(deltas):
            async for group in _group(writer.gather(deltas), shared=layout.dialect.shared_deltas):
                if isinstance(group[-1], End):
                    ends.append(group[-1].completion)
                for event in writer.write_shared(group):
                    yield event
                if layout.dialect.empty_deltas:
                    yield writer.make_empty()
    total = replace(
        ends[0],
        completion_tokens=sum(one.completion_tokens for one in ends),
        reasoning_tokens=sum(one.reasoning_tokens for one in ends),
    )
    for event in writer.close(total):
        yield event


async def _group(deltas: AsyncIterator[Delta], *, shared: bool) -> AsyncIterator[list[Delta]]:
    """Yield each piece, or with `shared` neighbours of different kinds together."""
    held: list[Delta] = []
    async for delta in deltas:
        together = shared and not isinstance(delta, End) and type(delta) not in map(type, held)
        if held and not (together and len(held) == 1):
            yield held
            held = []
        held.append(delta)
    yield held


def _make_writer(layout: Layout) -> _Writer:
    return _Native(layout) if layout.shape == "native" else _Choices(layout)


class _Writer:
    """The base of the forms of a stream."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.dialect = layout.dialect
        self.index = 0
        self._counted = 0
        self._pieces = 0
        self._prompt_told = False

    async def gather(self, deltas: AsyncIterator[Delta]) -> AsyncIterator[Delta]:
        """Yield the pieces, with those of a call put together where the dialect wants whole calls."""
        held: CallDelta | None = None
        async for delta in deltas:
            if not self.dialect.whole_calls or isinstance(delta, TextDelta | ReasoningDelta):
                yield delta
            elif isinstance(delta, CallDelta) and held is not None and delta.index == held.index:
                held = replace(held, arguments=held.arguments + delta.arguments)
            else:
                if held is not None:
                    yield held
                held = delta if isinstance(delta, CallDelta) else None
                if isinstance(delta, End):
                    yield delta

    def write(self, delta: Delta) -> Iterator[Event]:
        """Yield the events of one piece."""
        raise NotImplementedError

    def write_shared(self, deltas: list[Delta]) -> Iterator[Event]:
        """Yield the events of pieces that share one."""
        events = [event for delta in deltas for event in self.write(delta)]
        if len(deltas) > 1 and events:
            events = [self.join(events)]
        yield from events

    def join(self, events: list[Event]) -> Event:
        """Merge several events into one."""
        raise NotImplementedError

    def make_empty(self) -> Event:
        """Return an event without content."""
        raise NotImplementedError

    def close(self, total: Completion) -> Iterator[Event]:
        """Yield the events after the last piece."""
        raise NotImplementedError

    def build_call_piece(self, delta: CallDelta) -> dict[str, Any]:
        """Return a piece of a call; its id and name come with the first."""
        function: dict[str, Any] = {"arguments": delta.arguments}
        piece: dict[str, Any] = {}
        if self.dialect.call_index != "missing":
            piece["index"] = delta.index if self.dialect.call_index == "counted" else 0
        call_id = self.layout.call_id(delta.id)
        if self.dialect.call_ids == "changing":
            self._pieces += 1
            call_id = f"call_{self._pieces}"
        if call_id is not None:
            piece = {"id": call_id, **piece}
        if delta.name is not None:
            function = {"name": delta.name, **function}
            piece["type"] = "function"
        return {**piece, "function": function}

    def add_usage(self, event: Event, delta: Delta) -> Event:
        """Return an event with the usage that the dialect puts on it."""
        if self.dialect.usage not in ("every", "deltas") or isinstance(delta, End):
            return event
        text = delta.arguments + (delta.name or "") if isinstance(delta, CallDelta) else delta.text
        self._counted += count_tokens(text)
        so_far = Completion(prompt_tokens=self._get_prompt(), completion_tokens=self._counted)
        if self.dialect.usage == "deltas":
            so_far = replace(so_far, completion_tokens=count_tokens(text), prompt_tokens=self._get_prompt_once())
        return {**event, "usage": self.layout.usage(so_far)}

    def get_final_usage(self, total: Completion) -> dict[str, Any]:
        """Return the usage of the last event: everything, or what no event reported yet."""
        if self.dialect.usage == "deltas":
            rest = max(0, total.completion_tokens - self._counted)
            total = replace(total, completion_tokens=rest, prompt_tokens=self._get_prompt_once())
        return self.layout.usage(total)

    def _get_prompt(self) -> int:
        from langchain_workers_gemma.sandbox.tokens import count_prompt

        return count_prompt(self.layout.request)

    def _get_prompt_once(self) -> int:
        first, self._prompt_told = not self._prompt_told, True
        return self._get_prompt() if first else 0


class _Native(_Writer):
    """`{"response": ..., "p": ...}`, tool calls in events of their own, usage last."""

    _PADDING = "abcdefghijklmnopqrstuvwxyz0123456789"
    _said = 0

    def write(self, delta: Delta) -> Iterator[Event]:
        if isinstance(delta, TextDelta):
            yield self.add_usage(self._write_text(delta.text), delta)
        elif isinstance(delta, CallDelta):
            yield self.add_usage({"tool_calls": [self.build_call_piece(delta)]}, delta)
        elif isinstance(delta, End) and delta.completion.calls and self.dialect.finaliser:
            empty = {"name": None, "arguments": ""}
            yield {"tool_calls": [{"id": None, "type": None, "function": empty}]}

    def close(self, total: Completion) -> Iterator[Event]:
        if self.dialect.usage != "none":
            yield {"response": "", "usage": self.get_final_usage(total)}

    def join(self, events: list[Event]) -> Event:
        return {key: value for event in events for key, value in event.items()}

    def make_empty(self) -> Event:
        return {"response": ""}

    def _write_text(self, text: str) -> Event:
        self._said += 1
        event: Event = {"response": self.layout.number_or_text(text)}
        if self.dialect.tool_calls in ("empty", "null"):
            event["tool_calls"] = [] if self.dialect.tool_calls == "empty" else None
        # The padding hides how long a token is from who watches the wire.
        event["p"] = self._PADDING[: 1 + self._said * 7 % len(self._PADDING)]
        return event


class _Choices(_Writer):
    """OpenAI's form, of chats and of completions."""

    _begun = -1

    def write(self, delta: Delta) -> Iterator[Event]:
        if isinstance(delta, End):
            yield from self._finish(delta.completion)
            return
        yield self.add_usage(self._write_choice(self._write_delta(delta)), delta)

    def close(self, total: Completion) -> Iterator[Event]:
        if self.dialect.usage == "last" and self.layout.request.include_usage:
            yield {**self._write_head(), "choices": [], "usage": self.get_final_usage(total)}

    def join(self, events: list[Event]) -> Event:
        joined = {key: value for event in events for key, value in event.items()}
        choices = [event["choices"][0] for event in events]
        if self.layout.shape == "text":
            return {**joined, "choices": [{**choices[0], "text": "".join(str(choice["text"]) for choice in choices)}]}
        said = {key: value for choice in choices for key, value in choice["delta"].items()}
        return {**joined, "choices": [{**choices[0], "delta": said}]}

    def make_empty(self) -> Event:
        return self._write_choice({})

    def _write_delta(self, delta: Delta) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._begun != self.index:
            self._begun = self.index
            found["role"] = "assistant"
        if isinstance(delta, TextDelta):
            found["content"] = self.layout.number_or_text(delta.text)
            if self.dialect.tool_calls in ("empty", "null"):
                found["tool_calls"] = [] if self.dialect.tool_calls == "empty" else None
        elif isinstance(delta, ReasoningDelta):
            found[self.dialect.reasoning_key] = delta.text
        elif isinstance(delta, CallDelta):
            found["tool_calls"] = [self.build_call_piece(delta)]
        return found

    def _finish(self, completion: Completion) -> Iterator[Event]:
        if completion.calls and self.dialect.finaliser:
            empty = {"name": None, "arguments": ""}
            yield self._write_choice({"tool_calls": [{"id": None, "type": None, "function": empty}]})
        for at in range(self.dialect.finishes):
            event = self._write_choice({}, completion)
            if at == self.dialect.finishes - 1 and self.dialect.usage in ("every", "deltas"):
                event["usage"] = self.get_final_usage(completion)
            yield event

    def _write_choice(self, delta: dict[str, Any], completion: Completion | None = None) -> Event:
        choice: dict[str, Any] = {"index": self.index, "delta": delta, "logprobs": None, "finish_reason": None}
        if self.layout.shape == "text":
            choice = {"index": self.index, "text": delta.get("content", ""), "logprobs": None, "finish_reason": None}
        if completion is not None:
            choice |= {"finish_reason": completion.finish_reason, "stop_reason": self.layout.stop_reason(completion)}
        return {**self._write_head(), "choices": [choice]}

    def _write_head(self) -> dict[str, Any]:
        return self.layout.head("chat.completion.chunk" if self.layout.shape == "choices" else "text_completion")
