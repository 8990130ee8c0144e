"""Replayed votes: equal to the live graph on the same samples, and the executor's rules by hand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

import dynasor_graph as dg
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.errors import InputError
from dynasor_graph.policies import Beta, Fixed, Value, read_policy
from dynasor_graph.recordings import Recorded, Sample
from dynasor_graph.replay import Ballot, Decider, Outcome, ReplayEngine, Vote, replay_votes
from dynasor_graph.results import Result
from dynasor_graph.runner import solve

ENDS_LATE = Value(
    price=0.1,
    kinds=("votes",),
    bias=0.0,
    weights=(0.0,) * 6,
    edges=(),
    worth=((2.0,), (1.0,), (0.5,), (0.4,), (0.3,), (0.2,), (0.15,), (0.0,)),
    ages=((1.0, 0.9), (1.5, 0.3)),
)
"""Ends branches above their program's mean: the answers so late are never known."""

POLICIES = [
    ENDS_LATE.model_dump_json(),
    "fixed",
    "beta",
    "beta:confidence=0.8",
    "certaindex",
    "certaindex:threshold=0.3,at=3",
    "certaindex-every:every=1,threshold=0.5",
    "dirichlet",
    "vote-entropy",
    "majority-share",
    "esc:window=3",
    "doubling",
    "triple-gate",
    "short",
    "lossless",
    "beta-as-needed",
    "as-needed:policy=certaindex:at=3,least=2",
    "beta & esc:window=2",
    "certaindex:at=4 | lossless",
]

samples = st.lists(
    st.builds(
        Sample,
        answer=st.sampled_from([None, "1", "2", "3"]),
        # Few lengths, so that branches often end in the same moment.
        tokens=st.integers(1, 6).map(lambda n: 16 * n),
        logprob=st.floats(-3, 0).map(lambda value: round(value, 3)),
    ),
    min_size=1,
    max_size=12,
)


def live(recorded: Recorded, policy: str, window: int, vote: Vote) -> Result:
    """The same program through the live graph and executor."""

    async def run() -> Result:
        async with ReplayEngine([recorded]) as engine:
            return await solve(
                dg.Question(id=recorded.id, text=recorded.id),
                engine=engine,
                policy=policy,
                branches=len(recorded.samples),
                vote=vote,
                budget={"concurrency": window},
                sampling={"max_tokens": engine.longest},
            )

    return run_virtual(run())


@given(
    policy=st.sampled_from(POLICIES),
    samples=samples,
    window=st.sampled_from([1, 2, 3, 8]),
    vote=st.sampled_from(["majority", "confidence"]),
)
@example(  # equal means of unequal lengths: a tie, whatever the sums round to
    policy="fixed",
    samples=[Sample("1", 16, logprob=-2.957), Sample("2", 48, logprob=-2.957)],
    window=2,
    vote="confidence",
)
@settings(max_examples=150, deadline=None)
def test_the_live_graph_comes_to_the_same(
    policy: str, samples: list[Sample], window: int, vote: Vote
) -> None:
    recorded = Recorded(id="q", samples=tuple(samples))
    result = live(recorded, policy, window, vote)
    ballot = Ballot.of(recorded)
    decider = Decider(read_policy(policy), len(samples))
    found = replay_votes(ballot, range(len(samples)), decider, window=window, vote=vote)
    spelled = {number: s.answer for number, s in zip(ballot.classes, samples, strict=True)}
    assert spelled.get(found.answer) == result.answer or (found.answer < 0 and not result.answer)
    assert (found.tokens, found.wasted) == (result.usage.net, result.usage.terminated)
    assert found.latency / 64 == result.latency_s, "64 tokens a second"
    assert found.certain == (result.stop_reason is dg.StopReason.CERTAIN)


def ballot(*classes: int, tokens: tuple[int, ...] = (), **more: Any) -> Ballot:
    """A question whose samples gave these classes."""
    return Ballot(classes=classes, tokens=tokens or (10,) * len(classes), **more)


def replayed(one: Ballot, policy: Any, **how: Any) -> Outcome:
    """The samples in their order, under a cap of all of them."""
    count = len(one.classes)
    return replay_votes(one, range(count), Decider(policy, count), **how)


@pytest.mark.parametrize(
    ("window", "tokens", "wasted", "latency"),
    [
        pytest.param(1, 40, 0, 40, id="one by one: four agree"),
        pytest.param(4, 40, 0, 10, id="a wave of four"),
        pytest.param(3, 60, 0, 20, id="six in two waves: those of the last moment vote"),
        pytest.param(9, 80, 0, 10, id="all at once: nothing is saved"),
    ],
)
def test_beta_stops_at_four_equal_answers(
    window: int, tokens: int, wasted: int, latency: int
) -> None:
    found = replayed(ballot(*[0] * 8), Beta(), window=window)
    assert found[1:] == (tokens, wasted, tokens // 10, latency, True)


def test_what_runs_at_the_verdict_is_charged_as_far_as_it_came() -> None:
    one = ballot(0, 0, 0, 0, 1, tokens=(10, 10, 10, 15, 100))
    found = replayed(one, Beta(), window=5)
    assert found == Outcome(answer=0, tokens=60, wasted=15, finished=4, latency=15, certain=True)


def test_a_late_branch_is_ended_and_counts_as_one_without_an_answer() -> None:
    # The first takes 10 tokens, so the second may; it would have taken 90.
    one = ballot(0, 1, 1, tokens=(10, 90, 10))
    found = replayed(one, ENDS_LATE)
    # Of 0 and 1 with a vote each the earlier seen wins, as everywhere.
    assert found == Outcome(answer=0, tokens=30, wasted=0, finished=3, latency=30, certain=False)


@pytest.mark.parametrize(
    ("one", "vote", "answer"),
    [
        pytest.param(ballot(1, 0, 0, 1), "majority", 1, id="a tie goes to the earlier seen"),
        pytest.param(ballot(-1, -1, 2), "majority", 2, id="no answer never votes"),
        pytest.param(ballot(-1, -1), "majority", -1, id="nobody answers"),
        pytest.param(
            ballot(0, 0, 1, logprobs=(-3.0, -3.0, -0.1)), "confidence", 1, id="one sure voter"
        ),
        pytest.param(ballot(0, 0, 1, rewards=(0.2, 0.3, 0.9)), "best", 1, id="highest reward"),
        pytest.param(
            ballot(0, 0, -1, rewards=(0.2, 0.3, 0.9)), "best", 0, id="best with an answer"
        ),
        pytest.param(ballot(1, 0, rewards=(0.5, 0.5)), "best", 1, id="of equals the earlier"),
    ],
)
def test_who_wins(one: Ballot, vote: Vote, answer: int) -> None:
    assert replayed(one, Fixed(), vote=vote).answer == answer


def test_branches_are_the_samples_of_the_order() -> None:
    one = ballot(0, 0, 0, 0, 1, 1, 1, 1)
    decider = Decider(Beta(), 4)
    answers = [replay_votes(one, order, decider).answer for order in ([0, 1, 2, 3], [4, 5, 6, 7])]
    assert answers == [0, 1]


def test_a_policy_that_reads_votes_alone_is_asked_once_for_equal_votes() -> None:
    asked = itertools.count()

    class Counting(Fixed):
        def reads(self) -> frozenset[str]:
            return frozenset({"votes"})

        def decide(self, progress: Any, /) -> Any:
            next(asked)
            return super().decide(progress)

    decider = Decider(Counting(), 4)
    for _ in range(5):
        replay_votes(ballot(0, 0, 1, 1), range(4), decider)
    assert next(asked) == 5, "one for each number of finished branches"


def test_equal_answers_share_a_class_and_the_verdict() -> None:
    row = Recorded(
        id="q",
        samples=(
            Sample("4", 1, True),
            Sample(None, 2, False),
            Sample("5", 3, False),
            Sample("4", 4, True),
        ),
    )
    one = Ballot.of(row)
    assert (one.classes, one.right) == ((0, -1, 1, 0), (True, False))


def test_without_a_verdict_there_is_no_right() -> None:
    assert Ballot.of(Recorded(id="q", samples=(Sample("4", 1),))).right is None


def test_samples_without_tokens_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="q7: a sample has no tokens"):
        Ballot.of(Recorded(id="q7", samples=(Sample("4", None),)))
