"""Times work that must grow with its input and no faster: ten times the input takes about ten times as long.

Tests count the lines that this work runs (`tests/unit_tests/test_cost_growth.py`). Time shows what a count cannot, such
as a long text that is copied repeatedly. It ends with an error if anything comes near to the square.
"""

from __future__ import annotations

import sys

from benchmarks.run import interleaved
from tests.helpers.cost_growth import WORKLOADS

SIZES = (20_000, 200_000)
TOO_MUCH = 50  # times as long; the square would be 100


def main() -> None:
    """Print a table."""
    print(f"| work | {SIZES[0] // 1000} kB | {SIZES[1] // 1000} kB | factor |")
    print("| --- | ---: | ---: | ---: |")
    found: dict[str, float] = {}
    for name, prepare in WORKLOADS.items():
        small, large = interleaved({str(size): prepare(size) for size in SIZES}, 5).values()
        found[name] = large / small
        print(f"| {name} | {small * 1e3:,.3g} ms | {large * 1e3:,.3g} ms | {found[name]:.1f} |")
    bad = [name for name, factor in found.items() if factor > TOO_MUCH]
    if bad:
        sys.exit(f"Grows like the square of its input: {', '.join(bad)}")


if __name__ == "__main__":
    main()
