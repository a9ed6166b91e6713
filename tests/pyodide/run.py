"""Run `checks.py` in Pyodide under node, with a JavaScript object that has the interface of a Workers AI binding.

    python -m tests.pyodide.run

Pyodide, its wheels and, if it is missing, node are installed once from PyPI and npm into `build/pyodide`. The wheel of
this package is built again after its sources change.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.installation import BUILD, ROOT, compute_digest, find_node, install_npm, print_step, run_pip

HERE = Path(__file__).resolve().parent
CACHE = BUILD / "pyodide"

# npm's `pyodide` 314 is CPython 3.14 on this platform.
PLATFORM = ("--platform", "pyemscripten_2026_0_wasm32", "--python-version", "3.14", "--implementation", "cp")
ABIS = ("--abi", "cp314", "--abi", "abi3", "--abi", "none")
# PyYAML has no wheel for Pyodide on PyPI. Without the optional C extension, each of its wheels is plain Python.
PYYAML = "PyYAML==6.0.3"
PYYAML_PLATFORM = ("--platform", "manylinux2014_x86_64", "--python-version", "3.11", "--implementation", "cp")


def main() -> int:
    """Install what is missing and run the checks. Return node's exit code."""
    node, _ = find_node()
    modules = install_npm(HERE / "package.json", CACHE / "npm")
    wheels = [*download_dependencies(CACHE / "wheels"), build_own_wheel(CACHE / "own")]
    command = [*node, str(HERE / "run.mjs"), str(modules), str(HERE / "checks.py"), *map(str, wheels)]
    return subprocess.run(command, check=False).returncode


def download_dependencies(target: Path) -> list[Path]:
    """Download the wheels of the package's dependencies, and return their paths."""
    requirements = HERE / "requirements.txt"
    stamp = target / ".downloaded"
    state = compute_digest([requirements, Path(__file__)])
    if not stamp.exists() or stamp.read_text() != state:
        print_step("downloading wheels for Pyodide (once)")
        shutil.rmtree(target, ignore_errors=True)
        only_wheels = ("download", "--no-deps", "--only-binary=:all:")
        run_pip(*only_wheels, "--dest", str(target), *PLATFORM, *ABIS, "--requirement", str(requirements))
        run_pip(*only_wheels, "--dest", str(target / "pyyaml"), *PYYAML_PLATFORM, PYYAML)
        remove_extension(next((target / "pyyaml").glob("*.whl")), target)
        stamp.write_text(state)
    return sorted(target.glob("*.whl"))


def remove_extension(wheel: Path, target: Path) -> None:
    """Write a copy of a wheel without its optional C extension."""
    name, version = wheel.name.split("-")[:2]
    with (
        zipfile.ZipFile(wheel) as source,
        zipfile.ZipFile(target / f"{name}-{version}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as plain,
    ):
        for entry in source.namelist():
            if not entry.endswith((".so", ".dist-info/RECORD")):
                plain.writestr(entry, source.read(entry))


def build_own_wheel(target: Path) -> Path:
    """Build the wheel of this package, and return its path."""
    sources = sorted((ROOT / "langchain_workers_gemma").rglob("*.py"))
    stamp = target / ".built"
    state = compute_digest([ROOT / "pyproject.toml", *sources])
    if not stamp.exists() or stamp.read_text() != state:
        print_step("building the package's wheel")
        shutil.rmtree(target, ignore_errors=True)
        run_pip("wheel", "--no-deps", "--wheel-dir", str(target), str(ROOT))
        stamp.write_text(state)
    return next(target.glob("*.whl"))


if __name__ == "__main__":
    sys.exit(main())
