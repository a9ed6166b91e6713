"""Runs `checks.py` in Pyodide under node, against a JavaScript object with the interface of a Workers AI binding.

    python -m tests.pyodide.run

Everything it needs comes from PyPI and npm, once, into `build/pyodide`: Pyodide, wheels for it, and node itself where
there is none. The package's own wheel is built again when the sources changed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.installing import BUILD, ROOT, digest, find_node, install_npm, pip, say

HERE = Path(__file__).resolve().parent
CACHE = BUILD / "pyodide"

# What npm's `pyodide` 314 is: CPython 3.14 on this platform.
PLATFORM = ("--platform", "pyemscripten_2026_0_wasm32", "--python-version", "3.14", "--implementation", "cp")
ABIS = ("--abi", "cp314", "--abi", "abi3", "--abi", "none")
# PyYAML has no wheel for Pyodide on PyPI. Without its optional C extension, any wheel of it is plain Python.
PYYAML = "PyYAML==6.0.3"
PYYAML_PLATFORM = ("--platform", "manylinux2014_x86_64", "--python-version", "3.11", "--implementation", "cp")


def main() -> int:
    """Set up what is missing and run the checks. Gives node's exit code."""
    node, _ = find_node()
    modules = install_npm(HERE / "package.json", CACHE / "npm")
    wheels = [*dependencies(CACHE / "wheels"), own_wheel(CACHE / "own")]
    command = [*node, str(HERE / "run.mjs"), str(modules), str(HERE / "checks.py"), *map(str, wheels)]
    return subprocess.run(command, check=False).returncode


def dependencies(target: Path) -> list[Path]:
    """The wheels of what the package depends on."""
    wanted = HERE / "requirements.txt"
    stamp = target / ".downloaded"
    state = digest([wanted, Path(__file__)])
    if not stamp.exists() or stamp.read_text() != state:
        say("downloading wheels for Pyodide (once)")
        shutil.rmtree(target, ignore_errors=True)
        only_wheels = ("download", "--no-deps", "--only-binary=:all:")
        pip(*only_wheels, "--dest", str(target), *PLATFORM, *ABIS, "--requirement", str(wanted))
        pip(*only_wheels, "--dest", str(target / "pyyaml"), *PYYAML_PLATFORM, PYYAML)
        without_extension(next((target / "pyyaml").glob("*.whl")), target)
        stamp.write_text(state)
    return sorted(target.glob("*.whl"))


def without_extension(wheel: Path, target: Path) -> None:
    """Make a wheel of plain Python out of one whose extension is optional."""
    name, version = wheel.name.split("-")[:2]
    with (
        zipfile.ZipFile(wheel) as source,
        zipfile.ZipFile(target / f"{name}-{version}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as plain,
    ):
        for entry in source.namelist():
            if not entry.endswith((".so", ".dist-info/RECORD")):
                plain.writestr(entry, source.read(entry))


def own_wheel(target: Path) -> Path:
    """Build the wheel of this package."""
    sources = sorted((ROOT / "langchain_workers_gemma").rglob("*.py"))
    stamp = target / ".built"
    state = digest([ROOT / "pyproject.toml", *sources])
    if not stamp.exists() or stamp.read_text() != state:
        say("building the package's wheel")
        shutil.rmtree(target, ignore_errors=True)
        pip("wheel", "--no-deps", "--wheel-dir", str(target), str(ROOT))
        stamp.write_text(state)
    return next(target.glob("*.whl"))


if __name__ == "__main__":
    sys.exit(main())
