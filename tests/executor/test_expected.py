"""Expected: how many branches are still to come, for who orders the programs."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.executor.expected import expected_remaining
from dynasor_graph.policies import Decision, Progress, read_policy

POLICIES = ["fixed", "beta", "lossless", "majority-share", "certaindex-every:every=1", "even:at=6"]


def expected(policy: str, votes: tuple[int, ...], empty: int = 0, cap: int = 20) -> float:
    rule = read_policy(policy)
    progress = Progress(knob=sum(votes) + empty, cap=cap, votes=votes, empty=empty)
    return expected_remaining(rule, progress, rule.decide(progress))


@pytest.mark.parametrize(
    ("policy", "votes", "empty", "steps"),
    [
        pytest.param("beta", (), 0, 20, id="nothing is known: the whole cap"),
        pytest.param("beta", (3,), 0, 1, id="beta: the fourth equal answer is enough"),
        pytest.param("beta", (1,), 0, 3, id="three more of the same"),
        pytest.param("beta", (4,), 0, 0, id="settled"),
        # (6, 1) stops, so one more does, and five of six are likely to be such.
        pytest.param("beta", (5, 1), 0, 1 / (5 / 6), id="over the share of the leader"),
        pytest.param("beta", (2, 2), 0, 12, id="a tie: six more, and every other is one"),
        pytest.param("beta", (1, 1, 1, 1, 1, 1, 1, 1), 0, 12, id="never more than the cap leaves"),
        pytest.param("beta", (1,), 1, 6, id="branches without an answer lower the share"),
        pytest.param("fixed", (5,), 0, 15, id="a policy that never stops"),
        pytest.param("certaindex", (2,), 0, 3, id="the paper's detection knob"),
        pytest.param("certaindex", (4, 1), 0, 15, id="not settled there: the cap"),
        pytest.param("even:at=6", (2,), 0, 4, id="a policy that knows its end"),
        pytest.param("esc", (2,), 0, 18, id="a policy that looks at more than votes: its width"),
    ],
)
def test_steps_that_are_still_expected(
    policy: str, votes: tuple[int, ...], empty: int, steps: float
) -> None:
    assert expected(policy, votes, empty) == pytest.approx(steps)


@given(
    st.sampled_from(POLICIES),
    st.lists(st.integers(1, 6), max_size=4),
    st.integers(0, 3),
    st.integers(1, 40),
)
def test_it_is_between_nothing_and_what_the_policy_grants(
    policy: str, counts: list[int], empty: int, cap: int
) -> None:
    votes = tuple(sorted(counts, reverse=True))
    rule = read_policy(policy)
    progress = Progress(knob=sum(votes) + empty, cap=cap, votes=votes, empty=empty)
    decision: Decision = rule.decide(progress)
    found = expected_remaining(rule, progress, decision)
    most = max(0, min(decision.width, cap) - progress.knob)
    assert 0 <= found <= most
    if decision.verdict == "terminate":
        assert found == 0
    elif most:
        assert found >= 1
