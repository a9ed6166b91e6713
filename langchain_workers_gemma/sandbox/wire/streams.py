"""Write the events of a stream, as the service or a dialect does (docs/wire.md section 4)."""

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
    """Yield the events of a streamed reply, without `[DONE]`."""
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
        completion_tokens=sum(completion.completion_tokens for completion in ends),
        reasoning_tokens=sum(completion.reasoning_tokens for completion in ends),
    )
    for event in writer.close(total):
        yield event


async def _group(deltas: AsyncIterator[Delta], *, shared: bool) -> AsyncIterator[list[Delta]]:
    """Yield groups of one delta. With `shared`, two consecutive deltas of different types form a group."""
    group: list[Delta] = []
    async for delta in deltas:
        can_share = shared and not isinstance(delta, End) and type(delta) not in map(type, group)
        if group and not (can_share and len(group) == 1):
            yield group
            group = []
        group.append(delta)
    yield group


def _make_writer(layout: Layout) -> _Writer:
    return _NativeWriter(layout) if layout.shape == "native" else _ChoicesWriter(layout)


class _Writer:
    """The base class of the writers, one for each form of a stream."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.dialect = layout.dialect
        self.index = 0
        self._reported_tokens = 0
        self._call_chunks = 0
        self._is_prompt_reported = False

    async def gather(self, deltas: AsyncIterator[Delta]) -> AsyncIterator[Delta]:
        """Yield the deltas. If the dialect sends whole calls, merge the deltas of each call."""
        call: CallDelta | None = None
        async for delta in deltas:
            if not self.dialect.whole_calls or isinstance(delta, TextDelta | ReasoningDelta):
                yield delta
            elif isinstance(delta, CallDelta) and call is not None and delta.index == call.index:
                call = replace(call, arguments=call.arguments + delta.arguments)
            else:
                if call is not None:
                    yield call
                call = delta if isinstance(delta, CallDelta) else None
                if isinstance(delta, End):
                    yield delta

    def write(self, delta: Delta) -> Iterator[Event]:
        """Yield the events of one delta."""
        raise NotImplementedError

    def write_shared(self, deltas: list[Delta]) -> Iterator[Event]:
        """Yield the events of a group of deltas, which share one event."""
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
        """Yield the events after the last delta."""
        raise NotImplementedError

    def build_call_chunk(self, delta: CallDelta) -> dict[str, Any]:
        """Return a chunk of a call. The first one has its id and name."""
        function: dict[str, Any] = {"arguments": delta.arguments}
        chunk: dict[str, Any] = {}
        if self.dialect.call_index != "missing":
            chunk["index"] = delta.index if self.dialect.call_index == "counted" else 0
        call_id = self.layout.format_call_id(delta.id)
        if self.dialect.call_ids == "changing":
            self._call_chunks += 1
            call_id = f"call_{self._call_chunks}"
        if call_id is not None:
            chunk = {"id": call_id, **chunk}
        if delta.name is not None:
            function = {"name": delta.name, **function}
            chunk["type"] = "function"
        return {**chunk, "function": function}

    def add_usage(self, event: Event, delta: Delta) -> Event:
        """Return an event with the usage that the dialect adds to it."""
        if self.dialect.usage not in ("every", "deltas") or isinstance(delta, End):
            return event
        text = delta.arguments + (delta.name or "") if isinstance(delta, CallDelta) else delta.text
        self._reported_tokens += count_tokens(text)
        so_far = Completion(prompt_tokens=self._count_prompt(), completion_tokens=self._reported_tokens)
        if self.dialect.usage == "deltas":
            so_far = replace(so_far, completion_tokens=count_tokens(text), prompt_tokens=self._count_prompt_once())
        return {**event, "usage": self.layout.build_usage(so_far)}

    def get_final_usage(self, total: Completion) -> dict[str, Any]:
        """Return the usage of the last event: the whole usage, or with `deltas` the part not yet reported."""
        if self.dialect.usage == "deltas":
            rest = max(0, total.completion_tokens - self._reported_tokens)
            total = replace(total, completion_tokens=rest, prompt_tokens=self._count_prompt_once())
        return self.layout.build_usage(total)

    def _count_prompt(self) -> int:
        from langchain_workers_gemma.sandbox.tokens import count_prompt

        return count_prompt(self.layout.request)

    def _count_prompt_once(self) -> int:
        """Return the tokens of the prompt, and 0 in each further call."""
        is_first, self._is_prompt_reported = not self._is_prompt_reported, True
        return self._count_prompt() if is_first else 0


class _NativeWriter(_Writer):
    """Writes `{"response": ..., "p": ...}`, tool calls in separate events, and the usage last."""

    _PADDING = "abcdefghijklmnopqrstuvwxyz0123456789"
    _text_events = 0

    def write(self, delta: Delta) -> Iterator[Event]:
        if isinstance(delta, TextDelta):
            yield self.add_usage(self._write_text(delta.text), delta)
        elif isinstance(delta, CallDelta):
            yield self.add_usage({"tool_calls": [self.build_call_chunk(delta)]}, delta)
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
        self._text_events += 1
        event: Event = {"response": self.layout.format_text(text)}
        if self.dialect.tool_calls in ("empty", "null"):
            event["tool_calls"] = [] if self.dialect.tool_calls == "empty" else None
        # The padding hides the length of a token from anyone who observes the encrypted connection.
        event["p"] = self._PADDING[: 1 + self._text_events * 7 % len(self._PADDING)]
        return event


class _ChoicesWriter(_Writer):
    """Writes OpenAI's form of chats and of completions."""

    _started_choice = -1

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
        delta = {key: value for choice in choices for key, value in choice["delta"].items()}
        return {**joined, "choices": [{**choices[0], "delta": delta}]}

    def make_empty(self) -> Event:
        return self._write_choice({})

    def _write_delta(self, delta: Delta) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self._started_choice != self.index:
            self._started_choice = self.index
            fields["role"] = "assistant"
        if isinstance(delta, TextDelta):
            fields["content"] = self.layout.format_text(delta.text)
            if self.dialect.tool_calls in ("empty", "null"):
                fields["tool_calls"] = [] if self.dialect.tool_calls == "empty" else None
        elif isinstance(delta, ReasoningDelta):
            fields[self.dialect.reasoning_key] = delta.text
        elif isinstance(delta, CallDelta):
            fields["tool_calls"] = [self.build_call_chunk(delta)]
        return fields

    def _finish(self, completion: Completion) -> Iterator[Event]:
        if completion.calls and self.dialect.finaliser:
            empty = {"name": None, "arguments": ""}
            yield self._write_choice({"tool_calls": [{"id": None, "type": None, "function": empty}]})
        for number in range(self.dialect.finishes):
            event = self._write_choice({}, completion)
            if number == self.dialect.finishes - 1 and self.dialect.usage in ("every", "deltas"):
                event["usage"] = self.get_final_usage(completion)
            yield event

    def _write_choice(self, delta: dict[str, Any], completion: Completion | None = None) -> Event:
        choice: dict[str, Any] = {"index": self.index, "delta": delta, "logprobs": None, "finish_reason": None}
        if self.layout.shape == "text":
            choice = {"index": self.index, "text": delta.get("content", ""), "logprobs": None, "finish_reason": None}
        if completion is not None:
            choice |= {
                "finish_reason": completion.finish_reason,
                "stop_reason": self.layout.get_stop_reason(completion),
            }
        return {**self._write_head(), "choices": [choice]}

    def _write_head(self) -> dict[str, Any]:
        return self.layout.build_head("chat.completion.chunk" if self.layout.shape == "choices" else "text_completion")
