"""Serve a GGUF file with llama.cpp on loopback: print the address, and stop when standard input closes.

    python serve.py MODEL.gguf [TEMPLATE.jinja]

It runs in a separate environment that contains only `xllamacpp`.
"""

import os
import sys
from pathlib import Path

SLOTS = 2  # concurrent requests, which share the work of reading the weights
CONTEXT = 4096  # tokens of each slot


def choose_threads() -> int:
    """Return the number of threads: one for each core, or a single one if the cores are busy.

    The threads of llama.cpp wait for each other at each step. On two busy cores, two threads were ten times slower than
    one.
    """
    cores = os.cpu_count() or 1
    return 1 if os.getloadavg()[0] > cores else cores


def main() -> None:
    """Serve until standard input closes."""
    import xllamacpp  # type: ignore[import-not-found, unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx = SLOTS * CONTEXT
    params.n_parallel = SLOTS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = choose_threads()
    params.use_jinja = True
    if len(sys.argv) > 2:
        params.chat_template = Path(sys.argv[2]).read_text()
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
