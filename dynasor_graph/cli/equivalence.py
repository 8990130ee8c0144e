"""`dynasor-graph equivalence`: how well a kind of answers tells labelled pairs apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynasor_graph.cli import options as o

if TYPE_CHECKING:
    from dynasor_graph.calibration import Rate


def equivalence(
    pairs: Annotated[
        Path,
        typer.Argument(
            help='JSON lines: {"a": answer, "b": answer, "same": true or false}, at least 10 of each.',
            show_default=False,
        ),
    ],
    answers: Annotated[
        str,
        typer.Option(
            help="The kind of answers: its name, with parameters (number:tolerance=0.01), or JSON."
        ),
    ] = "embedding",
    confidence: Annotated[
        float, typer.Option(help="Of each interval.", min=0.5, max=0.9999)
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="Of the two halves.")] = 0,
    json_out: o.JSON_OUT = False,
) -> None:
    """Choose the threshold at which two answers are the same, and say how often it is wrong.

    The threshold of an embedding is chosen on one half of the pairs, and both error rates are measured
    on the other. A kind without a threshold is measured on all of them.
    """
    from dynasor_graph.answers import read_kind
    from dynasor_graph.calibration import read_pairs, separate
    from dynasor_graph.cli.output import print_json, print_table, warn

    found = separate(read_pairs(pairs), read_kind(answers), confidence=confidence, seed=seed)
    if json_out:
        print_json(found.to_json())
        return
    chosen = ",".join(f"{key}={value}" for key, value in found.kind.items() if key != "kind")
    written = f"{found.kind['kind']}:{chosen}" if chosen else found.kind["kind"]
    measured = found.merges.of + found.splits.of
    print_table(
        f"{written} on {measured} pairs",
        [
            _row("different, taken for the same", found.merges, confidence),
            _row("the same, taken for different", found.splits, confidence),
        ],
    )
    if found.fitted:
        warn(
            f"threshold chosen on {found.fitted} other pairs; {found.close:.0%} of the pairs lie so "
            f"close to it that they count as fragile. Use it with --set 'answers={written}'",
            "bold",
        )


def _row(label: str, rate: Rate, confidence: float) -> dict[str, Any]:
    return {
        "mistake": label,
        "pairs": f"{rate.wrong} of {rate.of}",
        "rate": f"{rate.rate:.1%}",
        f"{confidence:.0%} interval": f"{rate.low:.1%} to {rate.high:.1%}",
    }
