"""Build the wheel and the sdist, install each into an empty environment without extras, and check it there.

    python tests/packaging/check_distributions.py

It needs `hatchling` and `pip` in the environment that runs it. The dependencies are downloaded once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = "langchain_workers_gemma"
# langsmith calls a function that Python 3.14 deprecates.
_STRICT = ("-W", "error", "-W", "ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning")
_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")

# Each probe runs in its own interpreter of the new environment.
PROBES = {
    "imports without any extra": f"""
        import {PACKAGE}
        assert "site-packages" in {PACKAGE}.__file__, {PACKAGE}.__file__
        for name in {PACKAGE}.__all__:
            getattr({PACKAGE}, name)
        """,
    "creates model objects": f"""
        from {PACKAGE} import AIGateway, ChatWorkersGemma, WorkersGemmaEmbeddings
        llm = ChatWorkersGemma(account_id="account", api_token="secret-token", ai_gateway=AIGateway("default"))
        assert llm.model.startswith("@cf/google/gemma-4"), llm.model
        assert llm.profile["tool_calling"]
        assert "secret-token" not in repr(llm)
        WorkersGemmaEmbeddings(account_id="account", api_token="secret-token")
        """,
    "names the missing variable without credentials": f"""
        from {PACKAGE} import ChatWorkersGemma
        try:
            ChatWorkersGemma()
        except ValueError as error:
            assert "CLOUDFLARE_API_TOKEN" in str(error) or "CLOUDFLARE_ACCOUNT_ID" in str(error), error
        else:
            raise SystemExit("no error")
        """,
    "is typed": f"""
        from importlib.resources import files
        assert files("{PACKAGE}").joinpath("py.typed").is_file()
        """,
    "names the extra of the sandbox": f"""
        try:
            from {PACKAGE}.sandbox import Sandbox
        except ImportError as error:
            assert 'pip install "langchain-workers-gemma[sandbox]"' in str(error), error
        else:
            raise SystemExit("the sandbox can be imported without its extra")
        """,
    "names the extra of the middleware": f"""
        try:
            import {PACKAGE}.middleware
        except ImportError as error:
            assert "langchain-workers-gemma[agents]" in str(error), error
        else:
            raise SystemExit("the middleware can be imported without its extra")
        """,
    "has its version, licence and metadata": f"""
        from importlib.metadata import metadata, version
        from {PACKAGE} import __version__
        assert version("langchain-workers-gemma") == __version__
        fields = metadata("langchain-workers-gemma")
        assert fields["License-Expression"] == "MIT" and fields.get_all("License-File") == ["LICENSE"]
        assert fields["Requires-Python"] == ">=3.11" and fields["Author"] and fields["Keywords"]
        extras = set(fields.get_all("Provides-Extra"))
        assert {{"agents", "notebooks", "progress", "sandbox"}} <= extras, extras
        assert "# langchain-workers-gemma" in fields.get_payload()
        """,
    "has a command line": f"""
        import importlib.metadata, runpy, sys
        sys.argv = ["workers-gemma", "models"]
        (command,) = importlib.metadata.entry_points(group="console_scripts", name="workers-gemma")
        assert command.load()() == 0
        try:
            runpy.run_module("{PACKAGE}", run_name="__main__")
        except SystemExit as end:
            assert not end.code, end.code
        """,
    "installs nothing outside the package": """
        from importlib.metadata import files
        tops = {path.parts[0] for path in files("langchain-workers-gemma") if path.parts[0] != ".."}
        strays = {top for top in tops if not top.startswith("langchain_workers_gemma")}
        assert not strays, strays
        """,
}


def main() -> int:
    """Build, install and check the distributions, and print the outcomes.

    Returns:
        The exit code.
    """
    with tempfile.TemporaryDirectory(prefix="distributions-") as folder_name:
        home = Path(folder_name)
        _run(sys.executable, "-m", "hatchling", "build", "--directory", str(home), cwd=ROOT)
        wheel, sdist = next(home.glob("*.whl")), next(home.glob("*.tar.gz"))
        # Everything to install is downloaded once. The steps after this need no network.
        _run(*_PIP, "wheel", "--wheel-dir", str(home / "wheels"), str(wheel), *_get_build_requirements())
        outcomes = [*_check_contents(wheel, sdist)]
        with ThreadPoolExecutor(2) as pool:
            for checked in pool.map(_check_installation, (wheel, sdist)):
                outcomes += checked
    failed = sum(error is not None for _, error in outcomes)
    for name, error in outcomes:
        print(f"{'ok    ' if error is None else 'FAILED'} {name}" + ("" if error is None else f"\n{error}"))
    print(f"{len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _get_build_requirements() -> list[str]:
    required: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    return required


def _check_contents(wheel: Path, sdist: Path) -> Iterator[tuple[str, str | None]]:
    """Check which files the two distributions contain."""
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as tar:
        in_sdist = {name.partition("/")[2] for name in tar.getnames()}
    yield "wheel: contains every file of the package", _describe_missing(_list_committed_files(PACKAGE) - in_wheel)
    yield (
        "sdist: contains every file of the repository, because its Makefile uses them",
        _describe_missing(_list_committed_files(".") - in_sdist),
    )
    unwanted = {name for name in in_wheel | in_sdist if "__pycache__" in name or name.endswith((".pyc", ".env"))}
    yield "both: contain no caches or `.env` files", f"       {sorted(unwanted)}" if unwanted else None


def _list_committed_files(folder: str) -> set[str]:
    """Return the files of a folder that are in the repository."""
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return set(listed.splitlines())


def _describe_missing(names: set[str]) -> str | None:
    return f"       missing: {sorted(names)}" if names else None


def _check_installation(distribution: Path) -> list[tuple[str, str | None]]:
    """Install one of the distributions into a new environment, and run the probes there."""
    kind = "wheel" if distribution.suffix == ".whl" else "sdist"
    environment = distribution.parent / f"environment-{kind}"
    _run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = str(environment / ("Scripts" if os.name == "nt" else "bin") / "python")

    wheels = distribution.parent / "wheels"

    def install() -> None:
        _run(*_PIP, "--python", python, "install", "--no-index", "--find-links", str(wheels), str(distribution))

    outcomes = [(f"{kind}: installs into an empty environment", _find_error(install))]
    if outcomes[0][1] is not None:
        return outcomes
    outcomes.append(
        (f"{kind}: its requirements are compatible", _find_error(lambda: _run(*_PIP, "--python", python, "check")))
    )
    for name, probe in PROBES.items():
        code = "\n".join(line[8:] for line in probe.splitlines())
        outcomes.append((f"{kind}: {name}", _find_error(partial(_run, python, "-I", *_STRICT, "-c", code))))
    return outcomes


def _find_error(action: Callable[[], None]) -> str | None:
    try:
        action()
    except subprocess.CalledProcessError as error:
        output: str = error.stdout
        return "\n".join(f"       {line}" for line in output.strip().splitlines()[-12:])
    return None


def _run(*command: str, cwd: Path | None = None) -> None:
    """Run a command without the user's credentials.

    Raises:
        CalledProcessError: If the command failed. It contains the output.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CLOUDFLARE_", "CF_", "WORKERS_"))
    }
    subprocess.run(
        command,
        cwd=cwd or tempfile.gettempdir(),
        env={**kept, "PYTHONPATH": ""},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


if __name__ == "__main__":
    sys.exit(main())
