"""`python -m langchain_workers_gemma`: the command line."""

import sys

from langchain_workers_gemma.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
