"""Check that `@cloudflare/workers-types` allows every body that the sandbox accepts.

    python -m tests.workers_types.run

It runs the sandbox's own tests and records what they send to the native route. Then it assigns each accepted body to
the published input type of its model, and TypeScript's compiler checks the assignment.
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

from tests.installation import BUILD, find_node, install_npm, print_step
from tests.sandbox_tests import api_client

HERE = Path(__file__).resolve().parent
CACHE = BUILD / "workers_types"
TESTS = HERE.parent / "sandbox_tests"
RECORDED_FILES = (
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
_MAX_CHARACTERS = 3_000  # longer bodies are skipped: they test size limits, and the compiler would need long
# A literal is assigned through a variable. Otherwise additional keys, which the schemas allow, would be errors.
_MUTABLE = (
    "type Mut<T> = T extends string | number | boolean | null | undefined ? T "
    ": T extends readonly [] ? [] : { -readonly [K in keyof T]: Mut<T[K]> };"
)


class Recorder:
    """Records the bodies that the tests send to the native route, and whether they are accepted."""

    def __init__(self) -> None:
        self.accepted: dict[str, tuple[str, Any]] = {}
        self.refused: set[str] = set()

    def __enter__(self) -> Self:
        self._run = api_client.Api.run

        def run(api: api_client.Api, model: str, body: Any, **options: Any) -> httpx.Response:
            response = self._run(api, model, body, **options)
            if model in TYPES and not options.get("queueRequest"):
                self._record(model, body, response.status_code)
            return response

        setattr(api_client.Api, "run", run)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(api_client.Api, "run", self._run)

    def _record(self, model: str, body: Any, status: int) -> None:
        key = json.dumps([model, body], sort_keys=True)
        if len(key) > _MAX_CHARACTERS:
            return
        if status == httpx.codes.OK:
            self.accepted[key] = (model, body)
        else:
            self.refused.add(key)


def main() -> int:
    """Record the bodies and check their types.

    Returns:
        The exit code.
    """
    print_step("running the sandbox's tests and recording their requests")
    with Recorder() as recorder:
        files = [str(TESTS / name) for name in RECORDED_FILES]
        if pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:cov", "-n", "0", "-W", _QUIET, *files]):
            return 1
    accepted = list(recorder.accepted.values())
    errors = find_type_errors(accepted)
    for line, message in errors.items():
        model, body = accepted[line]
        print(f"accepted by the sandbox, but not by {TYPES[model]}: {json.dumps(body)[:300]}\n    {message}")
    print(
        f"{len(accepted)} accepted bodies checked with Cloudflare's types; {len(recorder.refused)} bodies were refused"
    )
    print(f"{len(accepted) - len(errors)} passed, {len(errors)} failed")
    return 1 if errors or not accepted else 0


def find_type_errors(bodies: list[tuple[str, Any]]) -> dict[int, str]:
    """Return the compiler's error for each body that does not match its type, by the index of the body."""
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
        match = re.match(r"check\.ts\((\d+),\d+\): error (TS\d+: .*)", line)
        if match:
            found.setdefault(int(match[1]) - 3, match[2])
    if done.returncode and not found:
        sys.exit(done.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main())
