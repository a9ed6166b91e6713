"""Time work whose cost must be linear in its input: ten times the input should take about ten times as long.

Tests count the lines that this work runs (`tests/unit_tests/test_cost_growth.py`). Time shows what a count cannot, such
as a long text that is copied repeatedly. The program fails if a cost is nearly quadratic.
"""

from __future__ import annotations

import sys

from benchmarks.run import measure_in_turns
from tests.helpers.cost_growth import WORKLOADS

SIZES = (20_000, 200_000)
MAX_FACTOR = 50  # times as long for ten times the input; quadratic cost would be 100


def main() -> None:
    """Measure and print a table."""
    print(f"| work | {SIZES[0] // 1000} kB | {SIZES[1] // 1000} kB | factor |")
    print("| --- | ---: | ---: | ---: |")
    found: dict[str, float] = {}
    for name, prepare in WORKLOADS.items():
        small, large = measure_in_turns({str(size): prepare(size) for size in SIZES}, 5).values()
        found[name] = large / small
        print(f"| {name} | {small * 1e3:,.3g} ms | {large * 1e3:,.3g} ms | {found[name]:.1f} |")
    quadratic = [name for name, factor in found.items() if factor > MAX_FACTOR]
    if quadratic:
        sys.exit(f"The cost grows like the square of the input: {', '.join(quadratic)}")


if __name__ == "__main__":
    main()
