"""`dynasor-graph calibrate`: a policy chosen on your own data, with a bound on what it loses."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynasor_graph.cli import options as o
from dynasor_graph.cli.replay import (
    FILES,
    VOTE,
    is_chain,
    recording_of,
    replayed,
    usable,
    vote_of,
)
from dynasor_graph.errors import ConfigError, InputError

if TYPE_CHECKING:
    from dynasor_graph.calibration import Certificate, PolicyFile
    from dynasor_graph.policies import Rule
    from dynasor_graph.recordings import Recorded


def calibrate(
    files: FILES,
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            "-p",
            help="The policy whose parameter is chosen, such as beta or certaindex-every:every=1; "
            "or value, skyline or pareto, which are fitted whole.",
        ),
    ] = "beta",
    max_loss: Annotated[
        float,
        typer.Option(help="Points (of 100) that may be lost, at the most.", min=0.0, max=100.0),
    ] = 0.5,
    confidence: Annotated[
        float, typer.Option(help="Probability that this holds.", min=0.5, max=0.9999)
    ] = 0.95,
    goal: Annotated[
        str,
        typer.Option(
            help="What may be lost: right (answers, needs gold) or same (answer as full)."
        ),
    ] = "right",
    kinds: Annotated[
        str, typer.Option(help="Signals of the policy value: votes,logprobs,lengths,rewards.")
    ] = "votes,logprobs,lengths",
    parameter: Annotated[
        str | None, typer.Option(help="Parameter to try, where it is not the usual one.")
    ] = None,
    values: Annotated[
        str | None, typer.Option(help="Values to try, separated by commas.", show_default=False)
    ] = None,
    window: Annotated[int, typer.Option("--window", "-w", help="Branches in flight.", min=1)] = 8,
    branches: Annotated[
        int | None, typer.Option(help="The cap. By default all recorded samples.", min=1)
    ] = None,
    shuffles: Annotated[
        int, typer.Option(help="Random orders of each question's samples.", min=1)
    ] = 5,
    vote: VOTE = "majority",
    algorithm: o.ALGORITHM = "self_consistency",
    seed: Annotated[int, typer.Option(help="Of the split and the orders.")] = 0,
    output: Annotated[Path, typer.Option("--output", "-o", help="The policy file.")] = Path(
        "policy.json"
    ),
    check: Annotated[
        Path | None,
        typer.Option(
            help="A policy file: does its bound still hold on these samples? Chooses nothing.",
            show_default=False,
        ),
    ] = None,
    json_out: o.JSON_OUT = False,
) -> None:
    """Choose how early to stop, with a guarantee: certified on questions it was not chosen on.

    One half of the questions orders the candidates (and fits the policy value), the other certifies
    them one by one until one fails (Learn then Test). Writes a policy file for `--policy FILE`, bound to
    model, sampling, algorithm and knob. Status 1: nothing that saves could be certified, or the check
    failed.
    """
    from dynasor_graph.calibration import certify, split

    if goal not in {"right", "same"}:
        raise ConfigError(f"--goal is right or same, not {goal!r}")
    recorded = usable([row for file in files for row in recording_of(file)])
    how: dict[str, Any] = {"shuffles": shuffles, "seed": seed, "vote": vote_of(vote)}
    if check is not None:
        _check(check, recorded, how, json_out)
        return
    # Of all of them: each half by itself might have more, and the file says this one.
    cap = branches or min((len(row.samples) for row in recorded), default=None)
    how |= {"cap": cap, "windows": [window]}
    fit, test = split(recorded, seed)
    signals = tuple(kind.strip() for kind in kinds.split(",") if kind.strip())
    tried = _candidates(policy, fit, {**how, "goal": goal}, signals, (parameter, _values(values)))
    told: dict[str, Any] = {"max_loss": max_loss / 100, "confidence": confidence, "goal": goal}
    found = certify(lambda rows, rules: replayed(rows, rules, how), fit, test, tried, **told)
    chains = any(is_chain(rule) for _, rule in tried.values())
    saves = found.rule is not None and found.candidates[found.certified - 1]["spent"] < 1
    if saves:
        _file(
            found,
            recorded,
            told=told,
            belongs={
                "algorithm": "cot" if chains else "best_of_n" if vote == "best" else algorithm,
                "cap": None if chains else cap,
                "window": None if chains else window,
                "vote": vote,
            },
        ).write(output)
    _show(found, max_loss, confidence, output if saves else None, json_out)
    if not saves:
        raise typer.Exit(1)


def _values(text: str | None) -> list[Any]:
    if text is None:
        return []
    try:
        return [json.loads(part) for part in text.split(",")]
    except json.JSONDecodeError:
        raise ConfigError(f"--values takes numbers such as 0.99,0.95, got {text!r}") from None


def _candidates(
    policy: str,
    fit: Sequence[Recorded],
    how: dict[str, Any],
    kinds: tuple[str, ...],
    sweep: tuple[str | None, list[Any]],
) -> dict[str, tuple[Any, Rule]]:
    """What is to be certified; the policies that differ in one parameter, or in how they were fitted."""
    from dynasor_graph.calibration import CURVES, candidates_of, curves, fit_value
    from dynasor_graph.cli.output import aside
    from dynasor_graph.policies import read_policy

    name = policy.partition(":")[0].strip()
    if name not in CURVES and policy.strip() != "value":
        return candidates_of(read_policy(policy), *sweep)
    with aside.status(f"fitting on {len(fit)} questions ..."):
        if name in CURVES:
            return curves(fit, policy, sweep[1], cap=how["cap"], seed=how["seed"])
        if how["vote"] not in {"majority", "best"}:
            raise ConfigError("--policy value goes with --vote majority or best")
        told = {key: how[key] for key in ("goal", "vote", "cap", "seed")}
        return candidates_of(fit_value(fit, kinds, **told), *sweep)


def _file(
    found: Certificate,
    recorded: Sequence[Recorded],
    *,
    told: dict[str, Any],
    belongs: dict[str, Any],
) -> PolicyFile:
    from dynasor_graph.calibration import BelongsTo, Bound, PolicyFile

    chosen = found.candidates[found.certified - 1]
    temperatures = {row.temperature for row in recorded if row.temperature is not None}
    return PolicyFile(
        policy=found.rule.model_dump(mode="json") if found.rule else {},
        bound=Bound(**told, loss=chosen["loss"], spent=chosen["spent"], questions=found.questions),
        belongs_to=BelongsTo(
            models=tuple(sorted({row.model for row in recorded if row.model})),
            datasets=tuple(sorted({row.dataset for row in recorded if row.dataset})),
            temperatures=tuple(sorted(temperatures)),
            **belongs,
        ),
        evidence=tuple(dict(row) for row in found.candidates),
        made=datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d"),
    )


def _show(
    found: Certificate, max_loss: float, confidence: float, output: Path | None, json_out: bool
) -> None:
    from dynasor_graph.cli.output import print_json, print_table, warn

    if json_out:
        rows = [dict(row) for row in found.candidates]
        chosen = found.rule.model_dump(mode="json") if found.rule and output else None
        file = str(output) if output else None
        print_json({"policy": chosen, "file": file, "needed": found.needed, "candidates": rows})
        return
    shown = [
        {
            "candidate": row["policy"],
            "loss": f"{100 * row['loss']:+.2f}",
            "spent": f"{100 * row['spent']:.1f} %",
            "p": f"{row['p_value']:.4f}",
            "": "certified" if i < found.certified else "",
        }
        for i, row in enumerate(found.candidates)
    ]
    print_table(f"{found.questions} questions, loss of at most {max_loss:g} points", shown)
    if found.rule is not None and output is None:
        warn(
            "no candidate that is certified costs less than the full budget: do not stop",
            "bold red",
        )
        return
    if found.rule is not None:
        best = found.candidates[found.certified - 1]
        warn(
            f"{best['policy']} loses at most {max_loss:g} points with {confidence:.0%} confidence, and "
            f"spends {best['spent']:.1%} of the full budget's tokens: {output}",
            "bold",
        )
        return
    more = (
        "no number of questions like these would do: it loses more than that"
        if found.needed is None
        else f"about {found.needed:,} questions in the half that certifies would do"
    )
    warn(f"not even {found.candidates[0]['policy']} can be certified: {more}", "bold red")


def _check(path: Path, recorded: Sequence[Recorded], how: dict[str, Any], json_out: bool) -> None:
    """Whether the bound of a policy file still holds on other samples."""
    from dynasor_graph.calibration import loss_p_value, losses, read_policy_file, upper_bound
    from dynasor_graph.cli.output import print_json, warn
    from dynasor_graph.policies import read_policy

    told = read_policy_file(path)
    bound, mine = told.bound, told.belongs_to
    if mine.cap and any(len(row.samples) < mine.cap for row in recorded):
        raise InputError(
            f"{path} was certified with {mine.cap} branches: record as many a question"
        )
    models = {row.model for row in recorded if row.model}
    strange = sorted(models - set(mine.models)) if mine.models else []
    for model in strange:
        warn(f"{model}: the policy was certified for {', '.join(mine.models)}")
    rule = read_policy(told.policy)
    where = {"cap": mine.cap, "windows": [mine.window or 1], "vote": mine.vote}
    arms = replayed(recorded, {"checked": rule}, {**how, **where}).arms
    base, arm = arms[0], arms[-1]  # one and the same if the policy is the full budget
    lost = losses(base, arm, "same" if bound.goal == "same" else "right")
    low, level = (0.0 if bound.goal == "same" else -1.0), 1 - bound.confidence
    values = lost.tolist()
    # The other way round: is it certain that the loss is above the bound?
    broken = loss_p_value([-x for x in values], -bound.max_loss, -1.0, 1.0) <= level
    least = upper_bound(values, level, low, 1.0)
    holds = least <= bound.max_loss
    verdict = "broken" if broken else "holds" if holds else "open"
    if json_out:
        print_json(
            {"verdict": verdict, "loss": float(lost.mean()), "upper_bound": least}
            | {"questions": len(values), "max_loss": bound.max_loss}
        )
    else:
        said = {
            "holds": "the bound holds",
            "broken": "the bound is broken: calibrate anew",
            "open": "these questions neither confirm nor refute the bound: record more",
        }[verdict]
        warn(
            f"{said}: loss {100 * lost.mean():+.2f} points on {len(values)} questions, at most "
            f"{100 * least:.2f} with {bound.confidence:.0%} confidence; certified "
            f"{100 * bound.max_loss:g}",
            "bold",
        )
    if verdict != "holds":
        raise typer.Exit(1)
