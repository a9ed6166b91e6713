"""Measure this package, bare httpx, a minimal LangChain model and two other packages, in one run on one server.

    make bench                       all measurements, about four minutes
    python -m benchmarks.run --quick a tenth of the repetitions

Figures are the median CPU time of this process. The subjects take turns, so that a busy machine affects all of them
alike. Only the concurrent runs are wall time. For the minimal model see `subjects.MinimalModel`.
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
from benchmarks.server import run_server

PICTURE = Path(__file__).with_name("ratios.png")
UNITS_PER_SECOND = {"ms": 1e3, "us": 1e6, "s": 1.0, "MB": 1.0}


def get_children_cpu_time() -> float:
    """Return the CPU time of the processes that this one started."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_in_turns(
    runs: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Return the median CPU time of each run. The runs take turns, so that a slow moment affects all of them alike.

    From time to time, Python's garbage collector visits all objects of the process, and a random run would pay for it.
    So the objects that exist before the runs are excluded from collection, and each run starts right after one.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    gc.collect()
    gc.freeze()
    for _ in range(repeats):
        for name, run in runs.items():
            gc.collect()
            started = clock()
            run()
            taken[name].append(clock() - started)
    gc.unfreeze()
    return {name: statistics.median(times) for name, times in taken.items()}


def repeat(run: Callable[[], Any], times: int) -> Callable[[], None]:
    """Return a function that repeats a run, since a single one is too short for the clock."""

    def run_repeatedly() -> None:
        for _ in range(times):
            run()

    return run_repeatedly


def measure_calls(url: str, repeats: int) -> dict[str, float]:
    runs = {name: repeat(lambda s=make(url): s.call("hi"), 20) for name, make in subjects.SUBJECTS.items()}
    return {name: seconds / 20 for name, seconds in measure_in_turns(runs, repeats).items()}


def measure_streams(url: str, path: str, repeats: int, without: tuple[str, ...] = ()) -> dict[str, float]:
    runs = {
        name: (lambda s=make(f"{url}/{path}"): s.stream("hi"))
        for name, make in subjects.SUBJECTS.items()
        if name not in without
    }
    return measure_in_turns(runs, repeats)


def measure_history(url: str, repeats: int) -> dict[str, float]:
    turns = [HumanMessage(f"Question {i}") if i % 2 == 0 else AIMessage(f"Answer {i}") for i in range(999)]
    runs = {name: (lambda s=make(url): s.call(turns)) for name, make in subjects.SUBJECTS.items()}
    return measure_in_turns(runs, repeats)


def make_tool(number: int) -> dict[str, Any]:
    """Return a tool in OpenAI's format."""
    properties = {
        "city": {"type": "string", "description": "Name of the city."},
        "days": {"type": "integer", "description": "How many days."},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    }
    parameters = {"type": "object", "properties": properties, "required": ["city"]}
    described = {"name": f"tool_{number}", "description": f"Tool number {number}.", "parameters": parameters}
    return {"type": "function", "function": described}


def measure_agent_turns(url: str, repeats: int) -> dict[str, float]:
    """Measure a turn of an agent: ten tools are bound, one call has its result, and the model makes another call."""
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
            runs[name] = repeat(lambda bound=bound: bound.invoke(turns), 10)
    return {name: seconds / 10 for name, seconds in measure_in_turns(runs, repeats).items()}


class Recipe(BaseModel):
    """A recipe."""

    title: str
    minutes: int = Field(ge=1, le=600)
    steps: list[str]


def measure_structured_output(url: str, repeats: int) -> dict[str, float]:
    """Measure structured output with a Pydantic class. The minimal model sends no schema and validates the text."""
    minimal = subjects.make_minimal_model(f"{url}/structured").llm
    runs: dict[str, Callable[[], Any]] = {
        "minimal model": lambda: Recipe.model_validate_json(minimal.invoke("Soup").text),
    }
    for name in ("ours", "langchain-cloudflare", "langchain-openai"):
        structured = subjects.SUBJECTS[name](f"{url}/structured").llm.with_structured_output(
            Recipe, method="json_schema"
        )
        assert structured.invoke("Soup").minutes == 30
        runs[name] = lambda structured=structured: structured.invoke("Soup")
    repeated_runs = {name: repeat(run, 10) for name, run in runs.items()}
    return {name: seconds / 10 for name, seconds in measure_in_turns(repeated_runs, repeats).items()}


def measure_token_counts(url: str, repeats: int) -> dict[str, float]:
    """Measure estimates of the tokens of 1,000 messages. Core's function divides the number of characters by four."""
    text = "The quick brown fox jumps over the lazy dog, and 12 others follow. "
    turns = [HumanMessage(text * 3) if i % 2 == 0 else AIMessage(text * 5) for i in range(1_000)]
    llm = subjects.make_ours(url).llm
    return measure_in_turns(
        {
            "core's count_tokens_approximately": lambda: count_tokens_approximately(turns),
            "ours": lambda: llm.get_num_tokens_from_messages(turns),
        },
        repeats,
    )


def measure_text_calls(url: str, repeats: int) -> dict[str, float]:
    """Measure a streamed tool call of 100 kB, as JSON fields and as text in Gemma's notation."""
    runs = {}
    for name, path in (("as JSON fields", "argument"), ("as text", "text-call")):
        tool = {
            "name": "save",
            "description": "Save.",
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
        }
        bound = subjects.make_ours(f"{url}/{path}/100000").llm.bind_tools([{"type": "function", "function": tool}])

        def run_ours(bound: Any = bound) -> int:
            return sum(
                len(chunk.message.tool_call_chunks)
                for chunk in bound.bound._stream([HumanMessage("hi")], **bound.kwargs)
            )

        assert run_ours()
        runs[name] = run_ours
    return measure_in_turns(runs, repeats)


def measure_documents(url: str, size: int, repeats: int) -> dict[str, float]:
    """Measure a streamed document with partial results, and the stream alone."""
    llm = subjects.make_ours(f"{url}/document/{size}").llm
    schema = {"title": "table", "type": "object", "properties": {"rows": {"type": "array", "items": {}}}}
    structured = llm.with_structured_output(schema)
    return measure_in_turns(
        {
            "stream alone": lambda: sum(1 for _ in llm.stream("hi")),
            "with partial results": lambda: sum(1 for _ in structured.stream("hi")),
        },
        repeats,
    )


def measure_concurrent_calls(url: str, repeats: int) -> dict[str, float]:
    """Measure the wall time of 512 calls of 50 ms, of which 64 run concurrently. The ideal is 0.4 s."""
    messages = ["hi"] * 512
    slow = f"{url}/slow/50"

    async def call_httpx() -> None:
        semaphore = asyncio.Semaphore(64)
        async with httpx.AsyncClient(timeout=60) as client:

            async def call() -> None:
                async with semaphore:
                    response = await client.post(f"{slow}/accounts/a/ai/run/m", json={"messages": []})
                    response.json()

            await asyncio.gather(*(call() for _ in messages))

    def make_batch(make: Callable[[str], subjects.LangChainSubject]) -> Callable[[], Coroutine[Any, Any, Any]]:
        llm = make(slow).llm
        return lambda: llm.abatch(messages, {"max_concurrency": 64})

    runs: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "httpx": call_httpx,
        "minimal model": make_batch(subjects.make_minimal_model),
        "ours": make_batch(subjects.make_ours),
        "langchain-cloudflare": make_batch(subjects.make_cloudflare),
        "langchain-openai": make_batch(subjects.make_openai),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    with asyncio.Runner() as runner:  # one event loop: the other packages keep clients that fail in a second one
        for _ in range(repeats):
            for name, run in runs.items():
                started = time.perf_counter()
                runner.run(run())
                taken[name].append(time.perf_counter() - started)
    return {name: min(times) for name, times in taken.items()}


MODULES = {
    "minimal model": "langchain_core.language_models",
    "ours": "langchain_workers_gemma",
    "langchain-cloudflare": "langchain_cloudflare",
    "langchain-openai": "langchain_openai",
}
CLASSES = {
    "minimal model": "BaseChatModel",
    "ours": "ChatWorkersGemma",
    "langchain-cloudflare": "ChatCloudflareWorkersAI",
    "langchain-openai": "ChatOpenAI",
}


def measure_starts(scripts: dict[str, str], repeats: int) -> dict[str, float]:
    """Measure the CPU time of new interpreters that run a script. This package is compiled first, as if installed."""
    compileall.compile_dir(Path(langchain_workers_gemma.__file__).parent, quiet=2)

    runs = {
        name: (lambda script=script: subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True))
        for name, script in scripts.items()
    }
    return measure_in_turns(runs, repeats, get_children_cpu_time)


def measure_module_imports(repeats: int) -> dict[str, float]:
    """Measure the import of the modules. Some of them load their contents only when a name is used."""
    return measure_starts({name: f"import {module}" for name, module in MODULES.items()}, repeats)


def measure_class_imports(repeats: int) -> dict[str, float]:
    """Measure the import of the class, which is what a program uses."""
    return measure_starts({name: f"from {MODULES[name]} import {cls}" for name, cls in CLASSES.items()}, repeats)


def measure_sandbox_start(repeats: int) -> dict[str, float]:
    """Measure a program that imports, starts and closes a sandbox, and one that does nothing."""
    script = "from langchain_workers_gemma.sandbox import Sandbox\nwith Sandbox(): pass"
    return measure_starts({"an empty interpreter": "pass", "with a sandbox": script}, repeats)


def measure_construction(url: str, repeats: int) -> dict[str, float]:
    """Measure the construction of a second model object. The first one has created what they share."""
    makers = {name: make for name, make in subjects.SUBJECTS.items() if name not in ("httpx", "minimal model")}
    return measure_in_turns({name: (lambda make=make: make(url)) for name, make in makers.items()}, repeats)


def measure_memory(url: str) -> dict[str, float]:
    """Measure the peak memory of Python objects, in MB, while a stream of 20,000 events is read and discarded."""
    peaks: dict[str, float] = {}
    for name in ("minimal model", "ours"):
        subject = subjects.SUBJECTS[name](f"{url}/events/20000")
        tracemalloc.start()
        subject.stream("hi")
        peaks[name] = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
    return peaks


def measure_per_event(url: str, repeats: int) -> dict[str, float]:
    """Measure the CPU time per event of a stream. It should not grow with the number of events."""
    found = {}
    for events in (200, 2_000, 20_000):
        runs = {
            name: (lambda s=subjects.SUBJECTS[name](f"{url}/events/{events}"): s.stream("hi"))
            for name in ("ours", "minimal model")
        }
        for name, seconds in measure_in_turns(runs, max(7, repeats * 200 // events)).items():
            found[f"{name}, {events:,} events"] = seconds / events
    return found


def measure_per_argument_byte(url: str, repeats: int) -> dict[str, float]:
    """Measure the CPU time per argument byte, without and with core's merging of the chunks."""
    found = {}
    for size in (10_000, 100_000, 1_000_000):
        llm = subjects.make_ours(f"{url}/argument/{size}").llm

        def run_ours(llm: Any = llm) -> None:
            for _ in llm._stream([HumanMessage("hi")]):
                pass

        def run_with_core(llm: Any = llm) -> None:
            for _ in llm.stream("hi"):
                pass

        count = max(3, repeats * 10_000 // size)
        taken = measure_in_turns({"alone": run_ours, "with core": run_with_core}, count)
        found[f"{size // 1000:,} kB, ours alone"] = taken["alone"] / size
        found[f"{size // 1000:,} kB, with core's merging"] = taken["with core"] / size
    return found


def measure_all(url: str, repeats: int) -> dict[str, tuple[str, dict[str, float]]]:
    """Measure everything, and return title -> (unit, subject -> seconds or megabytes)."""
    few = max(1, repeats // 5)
    return {
        "call": ("us", measure_calls(url, 3 * repeats)),
        "stream of 200 events": ("us", measure_streams(url, "events/200", repeats)),
        "stream of 5,000 events": ("ms", measure_streams(url, "events/5000", few)),
        "tool-call argument of 1 MB": ("ms", measure_streams(url, "argument/1000000", few, ("langchain-cloudflare",))),
        "history of 1,000 messages": ("ms", measure_history(url, repeats)),
        "agent turn with ten tools": ("us", measure_agent_turns(url, repeats)),
        "structured output, validated": ("us", measure_structured_output(url, repeats)),
        "tokens of 1,000 messages": ("ms", measure_token_counts(url, repeats)),
        "tool call of 100 kB": ("ms", measure_text_calls(url, few)),
        "512 calls of 50 ms, 64 concurrent (wall)": ("s", measure_concurrent_calls(url, max(1, few // 2))),
        "import of the module": ("ms", measure_module_imports(few)),
        "import of the class": ("ms", measure_class_imports(few)),
        "start of the sandbox": ("ms", measure_sandbox_start(few)),
        "a second model object": ("us", measure_construction(url, repeats)),
        "memory of a stream of 20,000 events": ("MB", measure_memory(url)),
        "JSON document of 60 kB, streamed": ("ms", measure_documents(url, 60_000, few)),
        "per event": ("us", measure_per_event(url, few)),
        "per argument byte": ("us", measure_per_argument_byte(url, few)),
    }


def get_baseline(title: str, row: dict[str, float]) -> float:
    """Return what a row is compared with: bare httpx if concurrent, else the minimal model, else the first subject."""
    if "wall" in title:
        return row["httpx"]
    return next(row[name] for name in ("minimal model", "ours", *row) if name in row)


def format_table(figures: dict[str, tuple[str, dict[str, float]]]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| what | subject | figure | ratio |", "| --- | --- | ---: | ---: |"]
    for title, (unit, row) in figures.items():
        base = get_baseline(title, row)
        for name, value in row.items():
            lines.append(f"| {title} | {name} | {value * UNITS_PER_SECOND[unit]:,.3g} {unit} | {value / base:.2f} |")
            title = ""  # noqa: PLW2901 - each title is shown once
    return "\n".join(lines)


def plot(figures: dict[str, tuple[str, dict[str, float]]], path: Path) -> None:
    """Plot the ratios to the minimal model."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = ["minimal model", "ours", "langchain-cloudflare", "langchain-openai"]
    titles = [title for title, (_, row) in figures.items() if "minimal model" in row and "langchain-openai" in row]
    figure, axes = plt.subplots(figsize=(13, 5.5))
    for offset, name in enumerate(names):
        places = [i + (offset - 1.5) * 0.2 for i in range(len(titles))]
        ratios = [figures[t][1].get(name, 0) / get_baseline(t, figures[t][1]) for t in titles]
        bars = axes.bar(places, ratios, 0.19, label=name)
        axes.bar_label(bars, [f"{ratio:.2f}" if ratio else "" for ratio in ratios], fontsize=7)
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylabel("CPU time (log); minimal model = 1, for concurrent calls httpx = 1")
    axes.set_xticks(
        range(len(titles)), [title.replace(" of ", "\nof ", 1).replace(", ", ",\n") for title in titles], fontsize=8
    )
    axes.legend()
    axes.set_title("Cost compared with a minimal LangChain model (less is better)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print a table and plot it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    packages = ("langchain-core", "httpx", "pydantic", "langchain-cloudflare", "langchain-openai")
    print(f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}")
    print(", ".join(f"{name} {version(name)}" for name in packages), "\n")
    with run_server() as url:
        figures = measure_all(url, 3 if arguments.quick else 30)
    print(format_table(figures))
    plot(figures, PICTURE)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
