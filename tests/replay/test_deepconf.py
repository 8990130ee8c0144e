"""DeepConf replayed: equal to the authors' procedure written out, cuts and votes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.confidence import Confidence, Groups
from dynasor_graph.errors import InputError
from dynasor_graph.policies import DeepConf, Fixed
from dynasor_graph.recordings import Recorded, Sample
from dynasor_graph.replay import Ballot, Decider, replay_votes, study

GROUP = 4

traces = st.lists(
    st.tuples(
        st.sampled_from([None, "1", "2", "3"]),
        # Multiples of a half, so that no mean is within rounding of the bar or of a smaller fall.
        st.lists(st.integers(1, 20).map(lambda n: n / 2), min_size=1, max_size=30),
    ),
    min_size=3,
    max_size=14,
)


def sample(answer: str | None, tokens: list[float]) -> Sample:
    groups = Groups(GROUP)
    groups.add(tokens)
    return Sample(answer, len(tokens), correct=answer == "1", confidence=groups.confidence())


def online(
    found: list[tuple[str | None, list[float]]], warm_up: int, keep: float
) -> tuple[str | None, int]:
    """The released code: warm-up, bar, cuts, votes weighted by the least group."""

    def means(tokens: list[float]) -> list[float]:
        return [sum(tokens[i : i + GROUP]) / GROUP for i in range(len(tokens) - GROUP + 1)]

    def least(tokens: list[float]) -> float:
        return min(means(tokens) or [sum(tokens) / len(tokens)])

    first, later = found[:warm_up], found[warm_up:]
    bar = float(np.percentile([least(tokens) for _, tokens in first], 100 * (1 - keep)))
    spent = sum(len(tokens) for _, tokens in first)
    votes: dict[str, float] = {}
    finished = list(first)
    for answer, tokens in later:
        cut = next((i + GROUP for i, mean in enumerate(means(tokens)) if mean < bar), len(tokens))
        spent += cut
        if cut == len(tokens):
            finished.append((answer, tokens))
    for answer, tokens in finished:
        if answer is not None:
            weight = least(tokens) if least(tokens) >= bar else 0.0
            votes[answer] = votes.get(answer, 0.0) + weight
    best = max(votes, key=votes.__getitem__) if votes else None
    return best, spent


@settings(max_examples=300)
@given(traces, st.integers(2, 5), st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([1, 3]))
def test_it_is_the_procedure_of_the_authors(
    found: list[tuple[str | None, list[float]]], warm_up: int, keep: float, window: int
) -> None:
    warm_up = min(warm_up, len(found))
    ballot = Ballot.of(Recorded(id="q", samples=tuple(sample(*trace) for trace in found)))
    rule = DeepConf(warm_up=warm_up, keep=keep, consensus=None)
    outcome = replay_votes(
        ballot,
        range(len(found)),
        Decider(rule, len(found)),
        window=1 if window == 1 else len(found),
        vote="group-least",
    )
    answer, spent = online(found, warm_up, keep)
    assert outcome.tokens == spent
    if window == 1:  # in the order of launch; a tie may go elsewhere in the order of the ends
        distinct = list(dict.fromkeys(a for a, _ in found if a is not None))
        assert outcome.answer == (-1 if answer is None else distinct.index(answer))


def test_a_branch_that_is_cut_takes_its_time_and_asks_nobody() -> None:
    falls = ((4, 1.0),)
    samples = (
        Sample("1", 10, confidence=Confidence(5.0, 5.0, 5.0, 5.0)),
        Sample("1", 10, confidence=Confidence(5.0, 5.0, 5.0, 5.0)),
        Sample("2", 10, confidence=Confidence(1.0, 1.0, 1.0, 1.0, falls)),
    )
    ballot = Ballot.of(Recorded(id="q", samples=samples))
    rule = DeepConf(warm_up=2, consensus=None)
    outcome = replay_votes(ballot, range(3), Decider(rule, 3))
    assert (outcome.tokens, outcome.wasted, outcome.finished, outcome.latency) == (24, 4, 2, 24)


@pytest.mark.parametrize(
    ("policies", "vote", "said"),
    [
        pytest.param(
            {"deepconf": DeepConf()}, "majority", "deepconf looks at the confid", id="rule"
        ),
        pytest.param({}, "group-least", "vote 'group-least' looks at the confidence", id="vote"),
    ],
)
def test_samples_without_confidence_are_refused(
    policies: dict[str, Any], vote: Any, said: str
) -> None:
    rows = [Recorded(id="q", samples=(Sample("1", 5, correct=True),))]
    with pytest.raises(InputError, match=said):
        study(rows, {"fixed": Fixed(), **policies}, vote=vote)
