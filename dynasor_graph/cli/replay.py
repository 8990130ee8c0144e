"""`dynasor-graph replay`: what policies would have done with recorded samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from dynasor_graph.cli import options as o
from dynasor_graph.errors import ConfigError

if TYPE_CHECKING:
    from dynasor_graph.policies import Rule
    from dynasor_graph.recordings import Recorded
    from dynasor_graph.replay import Replayed, Study, Vote

DEFAULT = "certaindex,certaindex-every:every=1,beta:confidence=0.9,beta,beta:confidence=0.99,esc"

_DETECTED, _LEAST = 5, 3
"""Branches after which Certaindex is measured for the page, and the least cap that has such a part."""

FILES = Annotated[
    list[Path],
    typer.Argument(
        help="Recordings (.jsonl, .jsonl.gz), traces of `dynasor-graph run`, or a bundled "
        "recording: abacus-test.direct, abacus-test.think, the same with the confidence of tokens "
        "(.direct-groups, .think-groups), abacus-calibration.direct, abacus-calibration.think.",
        show_default=False,
    ),
]


VOTE = Annotated[
    str,
    typer.Option(
        help="majority, confidence (by log-probability), best (by reward), or by the confidence of "
        "groups of tokens (DeepConf): group-mean, group-tail, group-bottom, group-least, top-tail, "
        "top-bottom."
    ),
]


def replay(
    files: FILES,
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            "-p",
            help="Policies, separated by commas; parameters as in beta:confidence=0.9. "
            "See `dynasor-graph policies`.",
        ),
    ] = DEFAULT,
    window: Annotated[
        str, typer.Option("--window", "-w", help="Branches in flight; several by commas.")
    ] = "1",
    branches: Annotated[
        int | None,
        typer.Option(help="The cap: most branches of a program. By default all recorded ones."),
    ] = None,
    shuffles: Annotated[
        int, typer.Option(help="Random orders of each question's samples; 0: as recorded.", min=0)
    ] = 10,
    vote: VOTE = "majority",
    chain_policy: Annotated[
        str | None,
        typer.Option(
            help="End each recorded chain of thought by this policy first, and vote over what "
            "they then answer.",
            show_default=False,
        ),
    ] = None,
    probe_cost: Annotated[int, typer.Option(help="Net tokens of one probe.", min=0)] = 29,
    answer_cost: Annotated[
        int, typer.Option(help="Tokens of the answer that a stopped chain is made to give.", min=0)
    ] = 12,
    seed: Annotated[int, typer.Option(help="Of the orders.")] = 0,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Page with plots and the table.")
    ] = Path("replay.html"),
    report: Annotated[bool, typer.Option(help="Write the page.")] = True,
    json_out: o.JSON_OUT = False,
) -> None:
    """Compare policies on recorded samples, without a model: thousands of programs a second.

    Record once, with the full budget (`dynasor-graph run -p fixed`), then see for any policy and
    window what it would have kept and spent. Every policy sees the same samples in the same orders.
    """
    from dynasor_graph.cli.output import print_json, print_table, warn

    recorded = usable([row for file in files for row in recording_of(file)])
    policies = policies_of(policy)
    costs = (probe_cost, answer_cost)
    kept = recorded if chain_policy is None else _ended(recorded, chain_policy, costs)
    chains = any(map(is_chain, policies.values()))
    how: dict[str, Any] = {"cap": branches, "shuffles": shuffles, "seed": seed}
    how["vote"] = vote_of(vote)
    found = replayed(kept, policies, {**how, "windows": windows_of(window)}, costs)
    groups = list(dict.fromkeys(found.groups))
    rows: list[Any] = [{"group": None, **row} for row in found.rows()]
    if len(groups) > 1:
        rows += [{"group": name, **row} for name in groups for row in found.rows(name)]
    if report:
        from dynasor_graph.report import write_fronts

        about = _about(files, kept, policy, chain_policy)
        write_fronts(
            output,
            found,
            title="What stopping early keeps",
            about=about,
            chains=chains,
            **({} if chains else _signals(kept, how)),
        )
    if json_out:
        print_json({"rows": rows, "report": str(output) if report else None})
        return
    title = f"{len(found.questions)} questions, {'chains' if chains else vote}"
    print_table(title, [_brief(row, chains) for row in rows if not row["group"]])
    if report:
        warn(f"report: {output}", "bold")


def _brief(row: Any, chains: bool) -> dict[str, str]:
    from dynasor_graph.report.fronts import cells

    shown = {"policy": row["policy"], **cells(row, chains=chains)}
    return {name: cell for name, cell in shown.items() if name not in {"samples", "probes"}}


def recording_of(file: Path) -> list[Recorded]:
    """The questions of a recording, of a trace, or of a bundled recording of that name.

    Raises:
        InputError: There is neither, or a line cannot be read.
    """
    from dynasor_graph.abacus import RECORDED, recording_path
    from dynasor_graph.recordings import read_recording

    name, _, kind = str(file).partition(".")
    if not file.exists() and kind in RECORDED.get(name, ()):
        file = recording_path(name, kind)
    return read_recording(file)


def usable(recorded: list[Recorded]) -> list[Recorded]:
    """The questions that can be replayed; says how many are left out, and why."""
    from dynasor_graph.cli.output import warn

    kept = [row for row in recorded if row.samples]
    counted = [row for row in kept if all(one.tokens is not None for one in row.samples)]
    if left := len(recorded) - len(kept):
        warn(f"left out: {left} questions without samples")
    if left := len(kept) - len(counted):
        warn(f"left out: {left} questions with samples whose tokens are not known")
    return counted


def policies_of(text: str, option: str = "--policy") -> dict[str, Rule]:
    """The policies of a list, by what was written; commas inside parameters belong to them.

    Raises:
        ConfigError: There is none, or one does not exist.
    """
    from dynasor_graph.policies import read_policy

    if text.strip().startswith("{"):
        return {text.strip(): read_policy(text)}
    names = [name.strip() for name in re.split(r",(?!\s*\w+\s*=)", text) if name.strip()]
    if not names:
        raise ConfigError(f"{option} names no policy: see `dynasor-graph policies`")
    return {name: read_policy(name) for name in names}


def vote_of(text: str) -> Vote:
    """The vote of that name.

    Raises:
        ConfigError: There is none.
    """
    from dynasor_graph.confidence import GROUP_VOTES

    known = ("majority", "confidence", "best", *GROUP_VOTES)
    if text not in known:
        raise ConfigError(f"--vote is one of {', '.join(known)}, not {text!r}")
    return cast("Vote", text)


def windows_of(text: str) -> list[int]:
    """The windows of a list.

    Raises:
        ConfigError: One is no whole number.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--window takes whole numbers such as 1,8,40, got {text!r}") from None


def _ended(recorded: list[Recorded], policy: str, costs: tuple[int, int]) -> list[Recorded]:
    from dynasor_graph.policies import read_policy
    from dynasor_graph.replay import Costs, shorten

    return shorten(recorded, read_policy(policy), Costs(probe=costs[0], answer=costs[1]))


def is_chain(rule: Rule) -> bool:
    """Whether a policy looks at single chains of thought, and not at votes."""
    return bool(rule.reads() & {"probes", "confidence"})


def replayed(
    recorded: Sequence[Recorded],
    policies: dict[str, Rule],
    how: dict[str, Any],
    costs: tuple[int, int] | None = None,
) -> Study:
    """The study, with a line of progress; of chains if a policy is one for chains.

    Args:
        recorded: The questions.
        policies: Name -> policy.
        how: What `study` is told.
        costs: Net tokens of a probe, and of the answer of a stopped chain.
    """
    from rich.progress import Progress

    from dynasor_graph.cli.output import aside
    from dynasor_graph.replay import Costs, study, study_chains

    total = len({"fixed", *policies}) * len(how.get("windows", [1]))
    # Where nobody watches it would leave an empty line.
    with Progress(console=aside, transient=True, disable=not aside.is_terminal) as progress:
        task = progress.add_task("replaying", total=total)

        def on_arm(arm: Replayed) -> None:
            progress.update(task, advance=1, description=f"{arm.policy}, {arm.window} in flight")

        if any(map(is_chain, policies.values())):
            charged = Costs(probe=costs[0], answer=costs[1]) if costs else None
            return study_chains(recorded, policies, costs=charged, on_arm=on_arm)
        return study(recorded, policies, on_arm=on_arm, **how)


def _signals(recorded: list[Recorded], how: dict[str, Any]) -> dict[str, Any]:
    """What Certaindex told of these questions; empty where that cannot be said.

    Of majority votes alone: the leading answer of another vote is not what Certaindex is about.
    """
    from dynasor_graph.replay import correlations, reliability

    most = how["cap"] or min(len(row.samples) for row in recorded)
    if most < _LEAST or how["vote"] != "majority":
        return {}
    told = {key: how[key] for key in ("cap", "shuffles", "seed")}
    at = min(_DETECTED, most)
    found = reliability(recorded, at=at, **told)
    if found.measure == "same" and at == most:
        return {}  # the full budget's answer is the full budget's
    return {"reliability": found, "correlations": correlations(recorded, at=at, **told)}


def _about(
    files: list[Path], recorded: list[Recorded], policy: str, chain_policy: str | None
) -> dict[str, str]:
    models = sorted({row.model for row in recorded if row.model})
    about = {"model": ", ".join(models), "recordings": ", ".join(map(str, files))}
    about["questions"] = f"{len(recorded):,}"
    about["policies"] = policy
    if chain_policy is not None:
        about["each chain ended by"] = chain_policy
    return about
