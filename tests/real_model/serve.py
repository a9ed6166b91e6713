"""Serve a GGUF file with llama.cpp on loopback: print the address, and stop when standard input closes.

Runs in an environment of its own, which holds `xllamacpp` alone.
"""

import sys

import xllamacpp  # type: ignore[import-not-found, unused-ignore]


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx = 8192
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.use_jinja = True
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
