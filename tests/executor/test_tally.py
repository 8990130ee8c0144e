"""Votes: who counts, who leads, and what happens to ties."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.executor import Branch, Tally, elect
from dynasor_graph.types import FinishReason

pytestmark = pytest.mark.anyio


def branch(
    index: int,
    answer: str | None,
    *,
    tokens: int = 10,
    finish: FinishReason = "stop",
    logprob: float | None = None,
) -> Branch:
    return Branch(
        index=index,
        round=0,
        answer=answer,
        text="",
        tokens=tokens,
        finish=finish,
        logprob=logprob,
        seconds=0.0,
        usage={"main": tokens},
    )


async def tally_of(*answers: str | None) -> Tally:
    return await Tally.of(branch(i, answer) for i, answer in enumerate(answers))


@pytest.mark.parametrize(
    ("answers", "votes", "empty", "leader"),
    [
        pytest.param([], (), 0, None, id="nobody"),
        pytest.param([None, None], (), 2, None, id="nobody-has-an-answer"),
        pytest.param(["4"], (1,), 0, 0, id="one"),
        pytest.param(["5", "4", "4"], (2, 1), 0, 1, id="the-majority-leads"),
        pytest.param(["5", "4", "4", "5"], (2, 2), 0, 0, id="a-tie-goes-to-the-earlier-seen"),
        pytest.param([None, "4", None], (1,), 2, 1, id="empties-never-vote"),
        pytest.param(["1/2", "3", "0.5", "\\frac{1}{2}"], (3, 1), 0, 0, id="equal-numbers-are-one"),
        pytest.param(["Yes", "no", "yes."], (2, 1), 0, 0, id="typography-does-not-count"),
    ],
)
async def test_votes_of_finished_branches(
    answers: list[str | None], votes: tuple[int, ...], empty: int, leader: int | None
):
    tally = await tally_of(*answers)

    assert (tally.votes, tally.empty, tally.finished) == (votes, empty, len(answers))
    found = tally.leader()
    assert (found["index"] if found else None) == leader


async def test_a_terminated_branch_is_kept_but_counts_nowhere():
    tally = await Tally.of([branch(0, "4"), branch(1, None, tokens=99, finish="terminated")])

    assert len(tally.branches) == 2
    assert (tally.votes, tally.empty, tally.finished, tally.mean_tokens) == ((1,), 0, 1, 10.0)


async def test_a_branch_that_was_cut_at_its_limit_votes_if_it_has_an_answer():
    tally = await Tally.of([branch(0, "4", finish="length"), branch(1, None, finish="length")])

    assert (tally.votes, tally.empty, tally.finished) == ((1,), 1, 2)


async def test_mean_tokens_are_those_of_finished_branches_answer_or_not():
    assert (await tally_of()).mean_tokens == 0.0
    finished = [branch(0, "4", tokens=10), branch(1, None, tokens=40)]
    assert (await Tally.of(finished)).mean_tokens == 25.0


async def test_a_heavier_vote_outweighs_two_light_ones():
    tally = await Tally.of(
        [branch(0, "4", tokens=1), branch(1, "4", tokens=1), branch(2, "5", tokens=9)]
    )

    by_length = tally.leader([float(branch["tokens"]) for branch in tally.voters])
    by_count = tally.leader()

    assert by_length is not None
    assert by_length["answer"] == "5"
    assert by_count is not None
    assert by_count["answer"] == "4"


async def test_the_leader_is_the_earliest_branch_of_its_class_in_its_own_spelling():
    leader = (await tally_of("3", "0.50", "1/2")).leader()

    assert leader is not None
    assert (leader["index"], leader["answer"]) == (1, "0.50")


@settings(deadline=None)
@given(answers=st.lists(st.one_of(st.none(), st.integers(0, 4).map(str)), max_size=12))
def test_votes_are_a_count_of_the_answers_whatever_the_order(answers: list[str | None]):
    tally = asyncio.run(tally_of(*answers))

    count = Counter(answer for answer in answers if answer is not None)
    assert list(tally.votes) == [votes for _, votes in count.most_common()]
    assert sum(tally.votes) + tally.empty == tally.finished == len(answers)
    leader = tally.leader()
    # Counter.most_common is stable too: of equals the first seen comes first.
    assert (leader["answer"] if leader else None) == next(iter(dict(count.most_common())), None)


@pytest.mark.parametrize(
    ("vote", "index"),
    [
        pytest.param("majority", 0, id="most-branches"),
        pytest.param("confidence", 3, id="the-surest"),
        pytest.param("weighted", 4, id="most-reward-in-all"),
        pytest.param("best", 6, id="most-reward-of-one"),
    ],
)
async def test_each_vote_elects_another_branch(vote: str, index: int):
    found = [
        ("1", -9.0, 0.1),
        ("1", -9.0, 0.1),
        ("1", -9.0, 0.1),
        ("2", -0.1, 0.2),
        ("3", -9.0, 0.6),
        ("3", -9.0, 0.6),
        ("4", -9.0, 0.9),
    ]
    branches = [branch(i, answer, logprob=sure) for i, (answer, sure, _) in enumerate(found)]
    for one, (_, _, reward) in zip(branches, found, strict=True):
        one["reward"] = reward

    leader = elect(await Tally.of(branches), vote)

    assert leader is not None
    assert leader["index"] == index


@pytest.mark.parametrize("vote", ["majority", "confidence", "weighted", "best"])
async def test_nobody_is_elected_without_an_answer(vote: str):
    assert elect(await tally_of(None, None), vote) is None
