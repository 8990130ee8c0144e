"""Value of computation: what each signal earns, on questions that nothing was fitted on.

    python -m benchmarks.value [--kind direct|think] [--window 1] [--shuffles 5] [--json]

The policy is fitted on the bundled samples of `abacus-calibration` and replayed on those of
`abacus-test`, 40 to a question, over a range of prices; Beta and Certaindex over a range of their
thresholds. A row is a rule; a column is the smallest share of the full budget's net tokens at which the
rule, at some price or threshold, loses no more than so many points on the test set. Rows with rewards
pay for them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.progress import Progress

from benchmarks.output import show
from dynasor_graph.abacus import recording_path
from dynasor_graph.calibration import SWEEPS, candidates_of, fit_value
from dynasor_graph.policies import Rule, read_policy
from dynasor_graph.recordings import Recorded, read_recording
from dynasor_graph.replay import study

SIGNALS = {
    "direct": (
        ("votes",),
        ("votes", "lengths"),
        ("votes", "logprobs"),
        ("votes", "logprobs", "lengths"),
        ("rewards",),
        ("votes", "logprobs", "rewards"),
    ),
    "think": (
        ("votes",),
        ("votes", "lengths"),
        ("votes", "logprobs"),
        ("votes", "logprobs", "lengths"),
    ),
}
PRICES = np.geomspace(1e-4, 0.3, 24).round(6).tolist()
BOUNDS = (0.0, 0.1, 0.3, 1.0, 3.0)
"""Points that may be lost."""


def rows(kind: str, window: int, shuffles: int) -> list[dict[str, Any]]:
    """A row for each rule."""
    fit, test = (
        read_recording(recording_path(name, kind)) for name in ("abacus-calibration", "abacus-test")
    )
    found: list[dict[str, Any]] = []
    with Progress(transient=True) as progress:
        task = progress.add_task("replaying", total=2 + len(SIGNALS[kind]))
        for name in ("beta", "certaindex-every:every=1"):
            rules = {key: rule for key, (_, rule) in candidates_of(read_policy(name)).items()}
            found.append({"rule": name, **cheapest(test, rules, window, shuffles)})
            progress.advance(task)
        for kinds in SIGNALS[kind]:
            base = fit_value(fit, kinds, shuffles=3)
            swept = candidates_of(base, SWEEPS["value"].parameter, PRICES)
            rules = {key: rule for key, (_, rule) in swept.items()}
            found.append(
                {"rule": f"value: {', '.join(kinds)}", **cheapest(test, rules, window, shuffles)}
            )
            progress.advance(task)
    return found


def cheapest(
    recorded: Sequence[Recorded], rules: dict[str, Rule], window: int, shuffles: int
) -> dict[str, str]:
    """The smallest share of the full budget's tokens at which a rule loses so many points."""
    arms = study(recorded, rules, windows=[window], shuffles=shuffles).rows()[1:]
    found: dict[str, str] = {}
    for bound in BOUNDS:
        fine = [arm for arm in arms if 100 * (arm["difference"] or 0.0) >= -bound - 1e-9]
        best = min((arm["spent"] for arm in fine), default=None)
        found[f"-{bound:g}"] = "" if best is None else f"{100 * best:.1f}"
    return found


def main() -> None:
    """Read the arguments, fit, replay, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=list(SIGNALS))
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--json", action="store_true", dest="json_out")
    args = parser.parse_args()
    for kind in [args.kind] if args.kind else list(SIGNALS):
        found = rows(kind, args.window, args.shuffles)
        title = f"{kind}, {args.window} in flight: net tokens, % of the full budget, by points lost"
        show(title, found, json_out=args.json_out)


if __name__ == "__main__":
    main()
