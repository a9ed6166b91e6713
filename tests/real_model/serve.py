"""Serve a GGUF file with llama.cpp on loopback: print the address, and stop when standard input closes.

    python serve.py MODEL.gguf [TEMPLATE.jinja]

Runs in an environment of its own, which holds `xllamacpp` alone. `REAL_MODEL_THREADS` sets its threads: on a machine
whose cores are busy, one is faster than two that wait for each other.
"""

import os
import sys
from pathlib import Path

SLOTS = 2  # requests at a time: two share the work of reading the weights
CONTEXT = 4096  # tokens of each


def main() -> None:
    """Serve until standard input closes."""
    import xllamacpp  # type: ignore[import-not-found, unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx = SLOTS * CONTEXT
    params.n_parallel = SLOTS
    threads = int(os.environ.get("REAL_MODEL_THREADS", 0)) or os.cpu_count() or 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.use_jinja = True
    if len(sys.argv) > 2:
        params.chat_template = Path(sys.argv[2]).read_text()
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
