"""Helpers for the notebooks: find a service, draw plots, and print messages and errors."""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch

if TYPE_CHECKING:
    from langchain_workers_gemma import ChatWorkersGemma
    from langchain_workers_gemma.sandbox import Sandbox

BLUE, GREY, ORANGE, RED, GREEN = "#33658a", "#9db4c0", "#e0a458", "#b5403a", "#5b8c5a"
_started: list[Sandbox] = []


def find_service(**options: Any) -> Sandbox | None:
    """Use the account in the environment, or start a sandbox. If you run the cell again, the sandbox stays.

    Args:
        **options: Options of the sandbox.

    Returns:
        The sandbox, `None` with an account.
    """
    if _started:
        print("The sandbox is running.")
        return _started[0]
    if {"CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN"} <= os.environ.keys():
        print("Gemma answers.")
        return None
    from langchain_workers_gemma.sandbox import Sandbox

    sandbox = Sandbox(**{"latency": 0.02, **options}).start()
    os.environ["CLOUDFLARE_ACCOUNT_ID"] = sandbox.account_id
    os.environ["CLOUDFLARE_API_TOKEN"] = sandbox.api_token
    os.environ["WORKERS_GEMMA_BASE_URL"] = sandbox.base_url
    _started.append(sandbox)
    print("The sandbox answers, with a mock model in place of Gemma.")
    return sandbox


def show_error(attempt: Callable[[], object]) -> None:
    """Print the error that a call raises, without Pydantic's footer."""
    try:
        attempt()
    except ValueError as error:
        shown: Exception = error
    except Exception as error:  # noqa: BLE001 - the notebook shows whatever is raised
        shown = error
    else:
        print("no error")
        return
    text = str(shown).partition(" [type=")[0].partition("\nFor troubleshooting")[0]
    print(f"{type(shown).__name__}: {text}\n")


def show_messages(state: Mapping[str, Any]) -> None:
    """Print the messages of an agent's state, one a line."""
    for message in state["messages"]:
        calls = [f"calls {call['name']}({call['args']})" for call in getattr(message, "tool_calls", ())]
        calls += [f"invalid call of {call['name']}" for call in getattr(message, "invalid_tool_calls", ())]
        print(f"{message.type:6} {'; '.join([*([message.text] if message.text else []), *calls])}")


def truncate_next_call(sandbox: Sandbox | None) -> None:
    """Make the sandbox answer once with a tool call that the token limit truncated; with an account, do nothing."""
    if sandbox is None:
        return
    call = {"id": "call-1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Par'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    sandbox.script({"result": {"choices": [{"message": message, "finish_reason": "length"}]}, "success": True})


# --- Plots ---


def plot_tokens(usage: Mapping[str, Mapping[str, Any]], *, title: str, ylabel: str) -> None:
    """Draw a bar for each usage: input tokens, reasoning tokens and answer tokens."""
    figure, axes = plt.subplots(figsize=(7.5, 1.4 + 0.5 * len(usage)), layout="constrained")
    for row, used in enumerate(usage.values()):
        reasoning = used.get("output_token_details", {}).get("reasoning", 0)
        parts = {
            "input": (used["input_tokens"], GREY),
            "reasoning": (reasoning, ORANGE),
            "answer": (used["output_tokens"] - reasoning, BLUE),
        }
        start = 0
        for kind, (tokens, colour) in parts.items():
            axes.barh(row, tokens, left=start, color=colour, label=kind if row == 0 else None, height=0.6)
            start += tokens
        axes.text(start, row, f" {start}", va="center")
    axes.set_yticks(range(len(usage)), list(usage))
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set(xlabel="tokens", ylabel=ylabel, title=title)
    figure.legend(ncols=3, frameon=False, loc="outside lower center")
    _finish(axes)


def draw_wave() -> str:
    """Draw a damped oscillation, and return it as base64."""
    x = np.linspace(0, 4 * np.pi, 400)
    figure, axes = plt.subplots(figsize=(4, 2.4), layout="constrained")
    axes.plot(x, np.sin(x) * np.exp(-x / 8), color=BLUE)
    axes.set(title="A swing that comes to rest", xlabel="time in seconds", ylabel="position in metres")
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    plt.show()
    return base64.b64encode(buffer.getvalue()).decode()


def draw_graph(graph: Any) -> None:
    """Draw a LangGraph graph without a network; a dashed edge is taken only if its condition holds."""
    where = _compute_positions(graph.edges)
    figure, axes = plt.subplots(figsize=(3.8, 4), layout="constrained")
    box = {"boxstyle": "round,pad=0.5,rounding_size=0.6", "fc": "#e9f1f7", "ec": BLUE, "lw": 1.5}
    labels = {
        node: axes.text(*at, node.strip("_"), ha="center", va="center", fontsize=12, bbox=box)
        for node, at in where.items()
    }
    axes.set(xlim=(-1.2, 1.2), ylim=(min(y for _, y in where.values()) - 0.4, 0.4))
    axes.axis("off")
    figure.canvas.draw()  # the boxes get their sizes here
    pairs = {(edge.source, edge.target) for edge in graph.edges}
    for edge in graph.edges:
        bend = 0.35 if (edge.target, edge.source) in pairs else 0.0
        if not bend and abs(where[edge.source][1] - where[edge.target][1]) > 1:
            bend = 0.55  # around the node in between
        arrow = FancyArrowPatch(
            where[edge.source],
            where[edge.target],
            patchA=labels[edge.source].get_bbox_patch(),
            patchB=labels[edge.target].get_bbox_patch(),
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=16,
            linestyle="--" if edge.conditional else "-",
            color="#444444",
        )
        axes.add_patch(arrow)
    plt.show()


def _compute_positions(edges: Sequence[Any]) -> dict[str, tuple[float, float]]:
    """Place the targets of a node one step below it, and the end node below all others."""
    start, end = "__start__", "__end__"
    depth = {start: 0}
    waiting = [start]
    while waiting:
        node = waiting.pop(0)
        for edge in edges:
            if edge.source == node and edge.target not in depth:
                depth[edge.target] = depth[node] + 1
                waiting.append(edge.target)
    depth[end] = max(level for node, level in depth.items() if node != end) + 1
    rows: dict[int, list[str]] = {}
    for node, level in depth.items():
        rows.setdefault(level, []).append(node)
    return {node: (at - (len(row) - 1) / 2, -depth[node]) for row in rows.values() for at, node in enumerate(row)}


def plot_missions(missions: Iterable[Any]) -> None:
    """Draw a dot for each space mission, as large as its crew."""
    import datetime as dt

    colours = {"NASA": BLUE, "Soviet": RED, "CNSA": ORANGE}
    _, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for mission in missions:
        axes.scatter(mission.launched, mission.days, s=60 * mission.crew, color=colours[mission.agency], alpha=0.85)
        axes.annotate(mission.name, (mission.launched, mission.days), (0, 13), textcoords="offset points", ha="center")
    for agency, colour in colours.items():
        axes.scatter([], [], color=colour, label=agency)
    axes.set_yscale("log")
    axes.set(xlabel="launch", ylabel="days in space", title="The size of a dot is the crew", ylim=(0.03, 1500))
    axes.set_xlim(dt.date(1956, 1, 1), dt.date(2009, 1, 1))
    axes.legend(frameon=False, loc="lower right")
    _finish(axes)


def plot_similarity(vectors: Any, subjects: Sequence[str]) -> None:
    """Draw the cosine of each pair of vectors."""
    likeness = vectors @ vectors.T
    others = likeness[~np.eye(len(vectors), dtype=bool)]  # without the similarity of each vector to itself
    figure, axes = plt.subplots(figsize=(5.2, 4.4), layout="constrained")
    image = axes.imshow(likeness, cmap="Blues", vmin=others.min(), vmax=others.max())
    names = list(dict.fromkeys(subjects))
    middles = [float(np.mean([at for at, subject in enumerate(subjects) if subject == name])) for name in names]
    axes.set_xticks(middles, names)
    axes.set_yticks(middles, names)
    axes.set(xlabel="passage", ylabel="passage", title="Similarity of the passages")
    axes.tick_params(length=0)
    figure.colorbar(image, label="cosine")
    plt.show()


def plot_map(vectors: Any, subjects: Sequence[str], query: Any) -> None:
    """Draw the vectors and the query in the two directions in which the vectors differ most."""
    centre = vectors.mean(axis=0)
    directions = np.linalg.svd(vectors - centre, full_matrices=False)[2][:2]
    flat, asked = (vectors - centre) @ directions.T, (query - centre) @ directions.T
    _, axes = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    for name, colour in zip(dict.fromkeys(subjects), (GREEN, RED, BLUE), strict=True):
        rows = [at for at, subject in enumerate(subjects) if subject == name]
        axes.scatter(*flat[rows].T, s=60, color=colour, label=name)
        for at in rows:
            axes.annotate(str(at + 1), flat[at], (6, 4), textcoords="offset points", fontsize=9)
    axes.scatter(*asked, marker="*", s=260, color=ORANGE, edgecolor="#444444", label="the question", zorder=3)
    axes.set(xlabel="first component", ylabel="second component", title="Passages and the question")
    axes.legend(frameon=False, loc="best")
    _finish(axes)


def plot_bill(input_tokens: Any, output_tokens: Any, cost: Any) -> None:
    """Draw the tokens of each prompt, and the cost so far."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3), layout="constrained")
    numbers = np.arange(1, len(cost) + 1)
    left.bar(numbers, input_tokens, color=GREY, label="input")
    left.bar(numbers, output_tokens, bottom=input_tokens, color=BLUE, label="output")
    left.set(xlabel="prompt", ylabel="tokens", title="Tokens of each prompt")
    left.set_ylim(top=1.3 * (input_tokens + output_tokens).max())
    left.legend(frameon=False, ncols=2, loc="upper left")
    right.step(numbers, cost.cumsum() * 1000, where="post", color=ORANGE, linewidth=2)
    right.set(xlabel="prompt", ylabel="cost in $ / 1000", title="Cost so far", ylim=0)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    plt.show()


def plot_prices(bills: Mapping[str, float]) -> None:
    """Draw a bar for each bill, the cheapest first."""
    ordered = sorted(bills.items(), key=lambda pair: pair[1])
    _, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
    bars = axes.barh([name for name, _ in ordered], [bill * 1000 for _, bill in ordered], color=BLUE, height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=4)
    axes.set(xlabel="cost of this batch in $ / 1000", ylabel="model, host", title="The same tokens at each host")
    axes.margins(x=0.12)
    axes.invert_yaxis()
    _finish(axes)


def measure_finish_times(llm: ChatWorkersGemma, prompts: Sequence[str]) -> list[float]:
    """Return the time at which each prompt was answered, in seconds from the start, with eight concurrent calls."""
    from langchain_core.runnables import RunnableLambda

    began = time.perf_counter()

    def ask(prompt: str) -> float:
        llm.invoke(prompt)
        return time.perf_counter() - began

    return sorted(RunnableLambda(ask).batch(list(prompts), {"max_concurrency": 8}))


def plot_progress(times: Mapping[str, Sequence[float]]) -> None:
    """Draw the number of answered prompts over time."""
    _, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for (label, moments), colour in zip(times.items(), (RED, BLUE), strict=True):
        axes.step(moments, range(1, len(moments) + 1), where="post", label=label, color=colour, linewidth=2)
    axes.set(xlabel="seconds", ylabel="prompts answered", title="Progress of a batch", xlim=0, ylim=0)
    axes.legend(frameon=False, loc="lower right")
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    plt.show()
