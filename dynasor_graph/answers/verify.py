"""The comparing process of `answers.equal`: pairs in, one verdict a line out."""

from __future__ import annotations

import json
import sys

from math_verify import parse, verify


def equal(a: str, b: str) -> bool:
    """Whether math-verify accepts each as the gold answer of the other (it is not symmetric)."""
    left, right = parse(f"${a}$"), parse(f"${b}$")
    return bool(left and right and verify(left, right) and verify(right, left))


def main() -> None:
    """Serve until standard input closes."""
    for line in sys.stdin:
        a, b = json.loads(line)
        try:
            same = equal(a, b)
        except Exception:  # noqa: BLE001 - whatever sympy trips over, these two were not shown equal
            same = False
        sys.stdout.write(json.dumps(same) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
