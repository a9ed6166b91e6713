"""Checks that every body the sandbox accepts is one that `@cloudflare/workers-types` allows.

    python -m tests.workers_types.run

The sandbox's own tests are run once more and what they send to the native route is written down; each body that was
accepted is then assigned to the published input type of its model, and TypeScript's compiler checks it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.installing import BUILD, find_node, install_npm, say
from tests.sandbox_tests import api_client

HERE = Path(__file__).resolve().parent
CACHE = BUILD / "workers_types"
TESTS = HERE.parent / "sandbox_tests"
SENDING = (
    "test_validation.py",
    "test_validation_tools.py",
    "test_templates.py",
    "test_replies.py",
    "test_mock_model.py",
)
TYPES = {
    api_client.GEMMA_4: "Ai_Cf_Google_Gemma_4_26B_A4B_It_Input",
    api_client.GEMMA_3: "Ai_Cf_Google_Gemma_3_12B_It_Input",
    api_client.GEMMA_7B: "AiTextGenerationInput",
    api_client.GEMMA_2B_LORA: "AiTextGenerationInput",
    api_client.GEMMA_7B_LORA: "AiTextGenerationInput",
    api_client.SEA_LION: "Ai_Cf_Aisingapore_Gemma_Sea_Lion_V4_27B_It_Input",
}
_QUIET = "ignore::pytest.PytestAssertRewriteWarning"  # the package is imported before pytest starts
_LONGEST = 3_000  # characters; the compiler need not read the bodies that test limits of size
# A literal is assigned through a variable, so that further keys, which the schemas allow, are no error.
_MUTABLE = (
    "type Mut<T> = T extends string | number | boolean | null | undefined ? T "
    ": T extends readonly [] ? [] : { -readonly [K in keyof T]: Mut<T[K]> };"
)


class Recorder:
    """Records what the tests send to the native route, and the outcome."""

    def __init__(self) -> None:
        self.accepted: dict[str, tuple[str, Any]] = {}
        self.refused: set[str] = set()

    def __enter__(self) -> Self:
        self._run = api_client.Api.run

        def run(api: api_client.Api, model: str, body: Any, **options: Any) -> httpx.Response:
            reply = self._run(api, model, body, **options)
            if model in TYPES and not options.get("queueRequest"):
                self._note(model, body, reply.status_code)
            return reply

        setattr(api_client.Api, "run", run)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(api_client.Api, "run", self._run)

    def _note(self, model: str, body: Any, status: int) -> None:
        key = json.dumps([model, body], sort_keys=True)
        if len(key) > _LONGEST:
            return
        if status == httpx.codes.OK:
            self.accepted[key] = (model, body)
        else:
            self.refused.add(key)


def main() -> int:
    """Record, write TypeScript, compile.

    Returns:
        The exit code.
    """
    say("running the sandbox's tests and writing down what they send")
    with Recorder() as recorder:
        files = [str(TESTS / name) for name in SENDING]
        if pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:cov", "-n", "0", "-W", _QUIET, *files]):
            return 1
    accepted = list(recorder.accepted.values())
    errors = compile_bodies(accepted)
    for line, message in errors.items():
        model, body = accepted[line]
        print(f"accepted by the sandbox, but not by {TYPES[model]}: {json.dumps(body)[:300]}\n    {message}")
    print(f"{len(accepted)} accepted bodies against Cloudflare's types; {len(recorder.refused)} were refused")
    print(f"{len(accepted) - len(errors)} passed, {len(errors)} failed")
    return 1 if errors or not accepted else 0


def compile_bodies(bodies: list[tuple[str, Any]]) -> dict[int, str]:
    """The compiler's complaint about each body that does not fit its type."""
    modules = install_npm(HERE / "package.json", CACHE)
    source = ['/// <reference path="./node_modules/@cloudflare/workers-types/index.d.ts" />', _MUTABLE]
    source += [
        f"const v{i} = {json.dumps(body)} as const; {{ const t{i}: {TYPES[model]} = v{i} as Mut<typeof v{i}>; }}"
        for i, (model, body) in enumerate(bodies)
    ]
    (CACHE / "check.ts").write_text("\n".join(source))
    project = {
        "compilerOptions": {
            "noEmit": True, "strict": True, "skipLibCheck": True, "target": "es2022", "lib": ["es2022"], "types": []
        },
        "files": ["check.ts"],
    }  # fmt: skip
    (CACHE / "tsconfig.json").write_text(json.dumps(project))
    (node,), _ = find_node()
    done = subprocess.run(
        [node, str(modules / "typescript" / "bin" / "tsc")],
        cwd=CACHE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    found: dict[int, str] = {}
    for line in done.stdout.splitlines():
        complaint = re.match(r"check\.ts\((\d+),\d+\): error (TS\d+: .*)", line)
        if complaint:
            found.setdefault(int(complaint[1]) - 3, complaint[2])
    if done.returncode and not found:
        sys.exit(done.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main())
