"""Run the command line with `python -m langchain_workers_gemma`."""

import sys

from langchain_workers_gemma.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
