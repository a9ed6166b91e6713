"""Measures this package beside bare httpx, LangChain's floor and two peers, in one run against one server.

    make bench                       the whole, about four minutes
    python -m benchmarks.run --quick a tenth of the repetitions

Figures are CPU time of this process (medians, subjects interleaved), so that a busy machine disturbs them little; only
the concurrent runs are wall time. The floor is LangChain's own machinery over bare httpx: see `subjects.FloorModel`.
"""

from __future__ import annotations

import argparse
import asyncio
import compileall
import gc
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately
from pydantic import BaseModel, Field

import langchain_workers_gemma
from benchmarks import subjects
from benchmarks.server import serving

Rows = dict[str, dict[str, float]]
PICTURE = Path(__file__).with_name("ratios.png")
UNIT = {"ms": 1e3, "us": 1e6, "s": 1.0, "MB": 1.0}


def children_time() -> float:
    """CPU time of the processes that this one started."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def interleaved(
    runs: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """The median CPU time of each, taken in turn so that a slow moment of the machine hits all alike.

    Python's garbage collector looks at all objects of the process every so often, and would do so in the time of
    whomever it hits, for the modules of all. So what is loaded is left out of it, and each run begins with nothing due.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    gc.collect()
    gc.freeze()
    for _ in range(repeats):
        for name, run in runs.items():
            gc.collect()
            began = clock()
            run()
            taken[name].append(clock() - began)
    gc.unfreeze()
    return {name: statistics.median(times) for name, times in taken.items()}


def repeated(run: Callable[[], Any], times: int) -> Callable[[], None]:
    """A run of several calls, since one is short for the clock."""

    def several() -> None:
        for _ in range(times):
            run()

    return several


def calls(url: str, repeats: int) -> dict[str, float]:
    runs = {name: repeated(lambda s=make(url): s.call("hi"), 20) for name, make in subjects.SUBJECTS.items()}
    return {name: seconds / 20 for name, seconds in interleaved(runs, repeats).items()}


def streams(url: str, path: str, repeats: int, without: tuple[str, ...] = ()) -> dict[str, float]:
    runs = {
        name: (lambda s=make(f"{url}/{path}"): s.stream("hi"))
        for name, make in subjects.SUBJECTS.items()
        if name not in without
    }
    return interleaved(runs, repeats)


def history(url: str, repeats: int) -> dict[str, float]:
    turns = [HumanMessage(f"Question {i}") if i % 2 == 0 else AIMessage(f"Answer {i}") for i in range(999)]
    runs = {name: (lambda s=make(url): s.call(turns)) for name, make in subjects.SUBJECTS.items()}
    return interleaved(runs, repeats)


def make_tool(number: int) -> dict[str, Any]:
    """A tool in OpenAI's form."""
    properties = {
        "city": {"type": "string", "description": "Name of the city."},
        "days": {"type": "integer", "description": "How many days."},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    }
    parameters = {"type": "object", "properties": properties, "required": ["city"]}
    described = {"name": f"tool_{number}", "description": f"Tool number {number}.", "parameters": parameters}
    return {"type": "function", "function": described}


def agent_turns(url: str, repeats: int) -> dict[str, float]:
    """A turn of an agent: ten tools are bound, one call has its result, the model makes another."""
    tools = [make_tool(number) for number in range(10)]
    call = {"name": "tool_1", "args": {"city": "Rome"}, "id": "call_0", "type": "tool_call"}
    turns = [
        HumanMessage("How is the weather in Rome, and in Paris?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("Sunny, 21 degrees.", tool_call_id="call_0"),
    ]
    runs = {}
    for name, make in subjects.SUBJECTS.items():
        if name != "httpx":
            bound = make(f"{url}/agent").llm.bind_tools(tools)
            assert bound.invoke(turns).tool_calls[0]["args"] == {"city": "Paris", "days": 3}
            runs[name] = repeated(lambda bound=bound: bound.invoke(turns), 10)
    return {name: seconds / 10 for name, seconds in interleaved(runs, repeats).items()}


class Recipe(BaseModel):
    """A recipe."""

    title: str
    minutes: int = Field(ge=1, le=600)
    steps: list[str]


def structured_answers(url: str, repeats: int) -> dict[str, float]:
    """An answer in the form of a Pydantic class. The floor validates the reply's text, and shows no schema."""
    floor = subjects.floor(f"{url}/structured").llm
    runs: dict[str, Callable[[], Any]] = {
        "floor": lambda: Recipe.model_validate_json(floor.invoke("Soup").text),
    }
    for name in ("ours", "langchain-cloudflare", "langchain-openai"):
        structured = subjects.SUBJECTS[name](f"{url}/structured").llm.with_structured_output(
            Recipe, method="json_schema"
        )
        assert structured.invoke("Soup").minutes == 30
        runs[name] = lambda structured=structured: structured.invoke("Soup")
    several = {name: repeated(run, 10) for name, run in runs.items()}
    return {name: seconds / 10 for name, seconds in interleaved(several, repeats).items()}


def token_counts(url: str, repeats: int) -> dict[str, float]:
    """Tokens of 1,000 messages, estimated; core's estimate divides the number of characters by four."""
    text = "The quick brown fox jumps over the lazy dog, and 12 others follow. "
    turns = [HumanMessage(text * 3) if i % 2 == 0 else AIMessage(text * 5) for i in range(1_000)]
    llm = subjects.ours(url).llm
    return interleaved(
        {
            "core's count_tokens_approximately": lambda: count_tokens_approximately(turns),
            "ours": lambda: llm.get_num_tokens_from_messages(turns),
        },
        repeats,
    )


def text_calls(url: str, repeats: int) -> dict[str, float]:
    """A streamed tool call of 100 kB, as data and as text in Gemma's notation."""
    runs = {}
    for name, path in (("as data", "argument"), ("as text", "text-call")):
        tool = {
            "name": "save",
            "description": "Save.",
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
        }
        bound = subjects.ours(f"{url}/{path}/100000").llm.bind_tools([{"type": "function", "function": tool}])

        def ours_alone(bound: Any = bound) -> int:
            return sum(
                len(chunk.message.tool_call_chunks)
                for chunk in bound.bound._stream([HumanMessage("hi")], **bound.kwargs)
            )

        assert ours_alone()
        runs[name] = ours_alone
    return interleaved(runs, repeats)


def documents(url: str, size: int, repeats: int) -> dict[str, float]:
    """A document streamed with partial results, beside the stream alone."""
    llm = subjects.ours(f"{url}/document/{size}").llm
    schema = {"title": "table", "type": "object", "properties": {"rows": {"type": "array", "items": {}}}}
    structured = llm.with_structured_output(schema)
    return interleaved(
        {
            "stream alone": lambda: sum(1 for _ in llm.stream("hi")),
            "with partial results": lambda: sum(1 for _ in structured.stream("hi")),
        },
        repeats,
    )


def concurrent(url: str, repeats: int) -> dict[str, float]:
    """Wall time of 512 calls that take 50 ms each, 64 in flight. The ideal is 0.4 s."""
    messages = ["hi"] * 512
    slow = f"{url}/slow/50"

    async def bare() -> None:
        gate = asyncio.Semaphore(64)
        async with httpx.AsyncClient(timeout=60) as client:

            async def one() -> None:
                async with gate:
                    reply = await client.post(f"{slow}/accounts/a/ai/run/m", json={"messages": []})
                    reply.json()

            await asyncio.gather(*(one() for _ in messages))

    def batch(make: Callable[[str], subjects.LangChain]) -> Callable[[], Coroutine[Any, Any, Any]]:
        llm = make(slow).llm
        return lambda: llm.abatch(messages, {"max_concurrency": 64})

    runs: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "httpx": bare,
        "floor": batch(subjects.floor),
        "ours": batch(subjects.ours),
        "langchain-cloudflare": batch(subjects.cloudflare),
        "langchain-openai": batch(subjects.openai),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    with asyncio.Runner() as runner:  # one event loop for all: the clients that both peers keep raise in a second one
        for _ in range(repeats):
            for name, run in runs.items():
                began = time.perf_counter()
                runner.run(run())
                taken[name].append(time.perf_counter() - began)
    return {name: min(times) for name, times in taken.items()}


MODULES = {
    "floor": "langchain_core.language_models",
    "ours": "langchain_workers_gemma",
    "langchain-cloudflare": "langchain_cloudflare",
    "langchain-openai": "langchain_openai",
}
CLASSES = {
    "floor": "BaseChatModel",
    "ours": "ChatWorkersGemma",
    "langchain-cloudflare": "ChatCloudflareWorkersAI",
    "langchain-openai": "ChatOpenAI",
}


def starts(scripts: dict[str, str], repeats: int) -> dict[str, float]:
    """CPU time of fresh interpreters, each of which runs a script. All packages are compiled, as installed ones are."""
    compileall.compile_dir(Path(langchain_workers_gemma.__file__).parent, quiet=2)

    runs = {
        name: (lambda script=script: subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True))
        for name, script in scripts.items()
    }
    return interleaved(runs, repeats, children_time)


def imports(repeats: int) -> dict[str, float]:
    """Modules alone: some load nothing before a name of theirs is used."""
    return starts({name: f"import {module}" for name, module in MODULES.items()}, repeats)


def class_imports(repeats: int) -> dict[str, float]:
    """What a program imports: the class."""
    return starts({name: f"from {MODULES[name]} import {cls}" for name, cls in CLASSES.items()}, repeats)


def sandbox_start(repeats: int) -> dict[str, float]:
    """A sandbox that is imported, started and closed, beside an interpreter that does nothing."""
    started = "from langchain_workers_gemma.sandbox import Sandbox\nwith Sandbox(): pass"
    return starts({"an empty interpreter": "pass", "with a sandbox": started}, repeats)


def making(url: str, repeats: int) -> dict[str, float]:
    """A second model object; the first has made what is shared."""
    makers = {name: make for name, make in subjects.SUBJECTS.items() if name not in ("httpx", "floor")}
    return interleaved({name: (lambda make=make: make(url)) for name, make in makers.items()}, repeats)


def memory(url: str) -> dict[str, float]:
    """Peak megabytes of Python objects while a stream of 20,000 events is read and discarded."""
    peaks: dict[str, float] = {}
    for name in ("floor", "ours"):
        subject = subjects.SUBJECTS[name](f"{url}/events/20000")
        tracemalloc.start()
        subject.stream("hi")
        peaks[name] = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
    return peaks


def per_event(url: str, repeats: int) -> dict[str, float]:
    """CPU time per event of a stream, which should not grow; the floor's grows with what core keeps of a stream."""
    found = {}
    for events in (200, 2_000, 20_000):
        runs = {
            name: (lambda s=subjects.SUBJECTS[name](f"{url}/events/{events}"): s.stream("hi"))
            for name in ("ours", "floor")
        }
        for name, seconds in interleaved(runs, max(7, repeats * 200 // events)).items():
            found[f"{name}, {events:,} events"] = seconds / events
    return found


def per_argument_byte(url: str, repeats: int) -> dict[str, float]:
    """CPU time per argument byte: our own part (up to the chunks), and core's merging of those chunks."""
    found = {}
    for size in (10_000, 100_000, 1_000_000):
        llm = subjects.ours(f"{url}/argument/{size}").llm

        def ours_alone(llm: Any = llm) -> None:
            for _ in llm._stream([HumanMessage("hi")]):
                pass

        def with_core(llm: Any = llm) -> None:
            for _ in llm.stream("hi"):
                pass

        count = max(3, repeats * 10_000 // size)
        taken = interleaved({"alone": ours_alone, "with core": with_core}, count)
        found[f"{size // 1000:,} kB, ours alone"] = taken["alone"] / size
        found[f"{size // 1000:,} kB, with core's merging"] = taken["with core"] / size
    return found


def measure(url: str, repeats: int) -> dict[str, tuple[str, dict[str, float]]]:
    """All figures: title -> (unit, subject -> seconds or megabytes)."""
    few = max(1, repeats // 5)
    return {
        "call": ("us", calls(url, 3 * repeats)),
        "stream of 200 events": ("us", streams(url, "events/200", repeats)),
        "stream of 5,000 events": ("ms", streams(url, "events/5000", few)),
        "tool-call argument of 1 MB": ("ms", streams(url, "argument/1000000", 1, ("langchain-cloudflare",))),
        "history of 1,000 messages": ("ms", history(url, repeats)),
        "agent turn with ten tools": ("us", agent_turns(url, repeats)),
        "structured answer, validated": ("us", structured_answers(url, repeats)),
        "tokens of 1,000 messages": ("ms", token_counts(url, repeats)),
        "tool call of 100 kB": ("ms", text_calls(url, few)),
        "512 calls of 50 ms, 64 in flight (wall)": ("s", concurrent(url, max(1, few // 2))),
        "import of the module": ("ms", imports(few)),
        "import of the class": ("ms", class_imports(few)),
        "start of the sandbox": ("ms", sandbox_start(few)),
        "a second model object": ("us", making(url, repeats)),
        "memory of a stream of 20,000 events": ("MB", memory(url)),
        "JSON document of 60 kB, streamed": ("ms", documents(url, 60_000, few)),
        "per event": ("us", per_event(url, few)),
        "per argument byte": ("us", per_argument_byte(url, few)),
    }


def baseline(title: str, row: dict[str, float]) -> float:
    """What the ratios of a row are to: bare httpx for concurrency, else the floor, else what comes first."""
    return row["httpx"] if "wall" in title else next(row[name] for name in ("floor", "ours", *row) if name in row)


def table(figures: dict[str, tuple[str, dict[str, float]]]) -> str:
    """A Markdown table."""
    lines = ["| what | subject | figure | ratio |", "| --- | --- | ---: | ---: |"]
    for title, (unit, row) in figures.items():
        base = baseline(title, row)
        for name, value in row.items():
            lines.append(f"| {title} | {name} | {value * UNIT[unit]:,.3g} {unit} | {value / base:.2f} |")
            title = ""  # noqa: PLW2901 - printed once a group
    return "\n".join(lines)


def plot(figures: dict[str, tuple[str, dict[str, float]]], path: Path) -> None:
    """A picture of the ratios to the floor."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = ["floor", "ours", "langchain-cloudflare", "langchain-openai"]
    titles = [title for title, (_, row) in figures.items() if "floor" in row and "langchain-openai" in row]
    figure, axes = plt.subplots(figsize=(13, 5.5))
    for offset, name in enumerate(names):
        places = [i + (offset - 1.5) * 0.2 for i in range(len(titles))]
        ratios = [figures[t][1].get(name, 0) / baseline(t, figures[t][1]) for t in titles]
        bars = axes.bar(places, ratios, 0.19, label=name)
        axes.bar_label(bars, [f"{ratio:.2f}" if ratio else "" for ratio in ratios], fontsize=7)
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylabel("CPU time; floor = 1, for calls in flight bare httpx = 1 (log)")
    axes.set_xticks(
        range(len(titles)), [title.replace(" of ", "\nof ", 1).replace(", ", ",\n") for title in titles], fontsize=8
    )
    axes.legend()
    axes.set_title("Cost beside LangChain's floor: less is better")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print a table, draw a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    packages = ("langchain-core", "httpx", "pydantic", "langchain-cloudflare", "langchain-openai")
    print(f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}")
    print(", ".join(f"{name} {version(name)}" for name in packages), "\n")
    with serving() as url:
        figures = measure(url, 3 if arguments.quick else 30)
    print(table(figures))
    plot(figures, PICTURE)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
