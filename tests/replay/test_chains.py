"""Replayed chains: equal to the live graph on the same probes, and where they stop by hand."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.errors import InputError
from dynasor_graph.policies import (
    Beta,
    Decision,
    Fixed,
    ProbeConfidence,
    ProbeConsistency,
    Progress,
    Rule,
    read_policy,
)
from dynasor_graph.policies.base import terminate
from dynasor_graph.questions import Question
from dynasor_graph.recordings import Probed, Recorded, Sample
from dynasor_graph.replay import (
    ChainOutcome,
    Costs,
    ReplayEngine,
    replay_chain,
    shorten,
    study,
    study_chains,
)
from dynasor_graph.results import Result
from dynasor_graph.runner import Runner
from dynasor_graph.types import JSON, StopReason

EVERY = 64
FREE = Costs(probe=0, answer=0)


def chain(
    probed: str, *, answer: str | None = "9", extra: int = 10, gold: str | None = None, p: Any = ()
) -> Sample:
    """A chain with a probe every 64 tokens, a letter each; a dot is a probe without an answer."""
    sure = [*p, *[None] * len(probed)]
    return Sample(
        answer=answer,
        tokens=EVERY * len(probed) + extra,
        correct=None if gold is None else answer == gold,
        probes=tuple(
            Probed(EVERY * (i + 1), None if letter == "." else letter, sure[i])
            for i, letter in enumerate(probed)
        ),
    )


def question(*samples: Sample, name: str = "q", gold: str | None = None, **more: Any) -> Recorded:
    return Recorded(id=name, samples=samples, gold=gold, question=f"text of {name}", **more)


# --- one chain


@pytest.mark.parametrize(
    ("sample", "policy", "stop"),
    [
        pytest.param(chain("555"), "cot-mid", (3, "5"), id="three-that-agree"),
        pytest.param(chain("3555"), "cot-mid", (4, "5"), id="a-change"),
        pytest.param(chain("35533"), "cot-high", (3, "5"), id="the-first-time-that-two-agree"),
        pytest.param(chain("5.5.5"), "cot-high", None, id="a-probe-without-an-answer-parts-them"),
        pytest.param(chain("..."), "cot-mid", None, id="silence-is-no-agreement"),
        pytest.param(chain("55"), "cot-mid", None, id="too-few"),
        pytest.param(chain(""), "cot-mid", None, id="none"),
        pytest.param(chain("123456"), "cot-high", None, id="they-disagree"),
        pytest.param(chain("5"), "probe-consistency:window=1", (1, "5"), id="the-first"),
        pytest.param(
            chain("5555"), "probe-consistency:window=2,min_tokens=200", (4, "5"), id="not-so-early"
        ),
        pytest.param(chain("555"), "fixed", None, id="nobody-asks"),
        pytest.param(chain("555", p=(0.5, 0.96, 0.99)), "deer", (2, "5"), id="confidence"),
        pytest.param(chain("555"), "deer", None, id="confidence-unknown"),
        pytest.param(chain("5.", p=(0.5, 0.99)), "deer", None, id="confident-of-nothing"),
        pytest.param(
            chain("5665", p=(0.99, 0.5, 0.5, 0.99)),
            "cot-high & deer",
            None,
            id="both-at-the-same-time",
        ),
        pytest.param(
            chain("5665", p=(0.5, 0.5, 0.99, 0.99)), "cot-high | deer", (3, "6"), id="either"
        ),
    ],
)
def test_where_a_chain_stops(sample: Sample, policy: str, stop: tuple[int, str] | None) -> None:
    found = replay_chain(sample, read_policy(policy), Costs(probe=1000, answer=7))
    if stop is None:
        asked = 0 if policy == "fixed" else len(sample.probes)
        assert found == ChainOutcome("9", sample.tokens or 0, asked, certain=False)
    else:
        at, answer = stop
        assert found == ChainOutcome(answer, EVERY * at + 7, at, certain=True)


def test_the_usual_cost_of_an_answer_is_charged() -> None:
    assert replay_chain(chain("555"), read_policy("cot-mid")).thought == 192 + Costs().answer


@pytest.mark.parametrize(
    ("tokens", "probes", "certain"),
    [
        pytest.param(193, 3, True, id="just-before-the-end"),
        pytest.param(192, 2, False, id="at-the-end"),
        pytest.param(100, 1, False, id="long-after-it"),
        pytest.param(10, 0, False, id="all-after-it"),
    ],
)
def test_probes_after_the_thought_had_ended_say_nothing(
    tokens: int, probes: int, certain: bool
) -> None:
    sample = Sample("9", tokens, probes=chain("555").probes)
    found = replay_chain(sample, read_policy("cot-mid"), FREE)
    assert (found.probes, found.certain) == (probes, certain)
    assert found.answer == ("5" if certain else "9")


def test_the_policy_is_told_of_the_probes_so_far() -> None:
    told: list[Progress] = []

    class Noting(ProbeConsistency):
        def decide(self, progress: Progress, /) -> Decision:
            told.append(progress)
            return super().decide(progress)

    replay_chain(chain("353", p=(0.1, 0.2, 0.3)), Noting(), FREE)
    assert [(one.knob, one.tokens, one.cap) for one in told] == [
        (64, 64, 202),
        (128, 128, 202),
        (192, 192, 202),
    ]
    assert [probe.answer for probe in told[-1].probes] == [0, 1, 0], "equal answers share a class"
    assert [probe.confidence for probe in told[-1].probes] == [0.1, 0.2, 0.3]
    assert [len(one.probes) for one in told] == [1, 2, 3]


@pytest.mark.parametrize(
    ("probed", "policy", "answer"),
    [
        pytest.param("34.", "cot-mid", "4", id="its-newest-probe"),
        pytest.param("...", "cot-mid", None, id="no-probe-did-either"),
        pytest.param("34.", "fixed", None, id="nothing-was-asked"),
    ],
)
def test_a_chain_without_an_answer_says_what_it_was_heard_to_say(
    probed: str, policy: str, answer: str | None
) -> None:
    sample = chain(probed, answer=None)
    found = replay_chain(sample, read_policy(policy), FREE)
    assert (found.answer, found.certain) == (answer, False)


def test_a_chain_without_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="without a number of tokens"):
        replay_chain(Sample("9", None), Fixed())


# --- equal to the live graph


def live(recorded: Recorded, policy: str) -> tuple[Result, list[JSON]]:
    """The same chain through the live graph: its result, and its probes."""
    events: list[JSON] = []
    engine = ReplayEngine([recorded])

    async def main() -> Result:
        runner = Runner(
            "cot",
            engine=engine,
            policy=policy,
            interval=EVERY,
            on_event=events.append,
            sampling={"max_tokens": engine.longest},
        )
        async with aclosing(
            runner.run([Question(id=recorded.id, text=recorded.question or "")])
        ) as results:
            (result,) = [result async for result in results]
        return result

    return run_virtual(main()), [event for event in events if event["event"] == "probe"]


@given(
    probed=st.text("56.", max_size=9),
    answer=st.sampled_from(["5", "9", None]),
    # Enough after the last probe for it to be answered, and too little for another.
    extra=st.integers(8, EVERY - 1),
    policy=st.sampled_from(
        [
            "fixed",
            "cot-mid",
            "cot-high",
            "probe-consistency:window=1",
            "probe-consistency:window=4,agreement=0.75",
            "probe-consistency:window=2,min_tokens=256",
            "cot-high & cot-low",
            "cot-mid | probe-consistency:window=6,agreement=0.5",
        ]
    ),
)
@settings(max_examples=120, deadline=None)
def test_the_live_graph_comes_to_the_same(
    probed: str, answer: str | None, extra: int, policy: str
) -> None:
    sample = chain(probed, answer=answer, extra=extra)
    result, probes = live(question(sample), policy)
    found = replay_chain(sample, read_policy(policy), FREE)
    assert result.error is None
    assert found.answer == result.answer
    assert found.certain == (result.stop_reason is StopReason.CERTAIN)
    assert found.probes == len(probes)
    if found.certain:
        assert probes[-1]["at"] == found.thought
        # Two more while the last probe was answered, and four for `\boxed{5}`.
        assert result.usage.main == found.thought + 2 + 4
    else:
        assert result.usage.main == found.thought == sample.tokens


# --- shortened chains


def test_a_shortened_chain_has_its_probes_on_its_bill() -> None:
    rows = [question(chain("3555", gold="5"), chain("1234", gold="5", answer="5"), gold="5")]
    (row,) = shorten(rows, read_policy("cot-mid"), Costs(probe=20, answer=12))
    assert row.samples == (
        Sample("5", 256 + 12 + 4 * 20, correct=True),
        Sample("5", 266 + 4 * 20, correct=True),
    )
    assert (row.id, row.gold) == ("q", "5")


@pytest.mark.parametrize(
    ("sample", "gold", "correct"),
    [
        pytest.param(chain("555", gold="5"), "5", True, id="stopped-and-right"),
        pytest.param(chain("555", gold="9"), "9", False, id="stopped-and-wrong"),
        pytest.param(chain("123", gold="9"), "9", True, id="to-its-end"),
        pytest.param(chain("12.", answer=None, gold="2"), "2", True, id="its-newest-probe"),
        pytest.param(chain("555"), None, None, id="without-gold"),
        pytest.param(
            Sample("5", 202, True, probes=chain("555").probes), "5.0", True, id="gold-spelled-anew"
        ),
    ],
)
def test_a_shortened_chain_is_judged_by_what_it_answers(
    sample: Sample, gold: str | None, correct: bool | None
) -> None:
    (row,) = shorten([question(sample, gold=gold)], read_policy("cot-mid"))
    assert row.samples[0].correct is correct


def test_what_else_was_recorded_of_a_chain_stays() -> None:
    sample = Sample("9", 100, True, logprob=-0.5, reward=0.25, seconds=2.0)
    (row,) = shorten([question(sample, dataset="d", model="m")], Fixed())
    assert row == question(sample, dataset="d", model="m")


chains = st.builds(
    chain,
    probed=st.text("56.", max_size=6),
    answer=st.sampled_from(["5", "6", None]),
    extra=st.integers(1, 99),
    gold=st.just("5"),
)
recordings = st.lists(st.lists(chains, min_size=1, max_size=3), min_size=1, max_size=3).map(
    lambda rows: [question(*row, name=str(i), gold="5") for i, row in enumerate(rows)]
)


@given(recordings)
def test_with_the_full_budget_nothing_changes(rows: list[Recorded]) -> None:
    for before, after in zip(rows, shorten(rows, Fixed()), strict=True):
        for old, new in zip(before.samples, after.samples, strict=True):
            assert new.probes == ()
            assert (new.answer, new.tokens, new.correct) == (old.answer, old.tokens, old.correct)
    (arm,) = study_chains(rows, {"fixed": Fixed()}).arms
    assert arm.agrees.tolist() == [1] * len(rows)
    assert arm.samples.tolist() == [0] * len(rows)
    assert arm.tokens.tolist() == arm.latency.tolist()


@given(recordings, st.integers(1, 5))
def test_a_larger_window_never_stops_earlier(rows: list[Recorded], window: int) -> None:
    for row in rows:
        for sample in row.samples:
            near, far = (
                replay_chain(sample, ProbeConsistency(window=k), FREE) for k in (window, window + 1)
            )
            assert near.probes <= far.probes
            assert near.certain or not far.certain
            assert near.thought <= (sample.tokens or 0)


def test_shortened_chains_are_replayed_as_branches() -> None:
    rows = [question(*[chain("555", gold="5", answer="5")] * 8, gold="5")]
    ended = shorten(rows, read_policy("cot-mid"), Costs(probe=10, answer=8))
    found = study(ended, {"beta": Beta()}, shuffles=0).rows()
    assert [row["tokens"] for row in found] == [8 * 230, 4 * 230]


# --- the study


def test_columns_by_hand() -> None:
    rows = [
        question(chain("555", gold="5"), chain("1234", gold="5", answer="5"), gold="5"),
        question(chain("777", gold="9"), name="misled", gold="9", dataset="d", model="m"),
    ]
    done: list[str] = []
    found = study_chains(
        rows,
        {"mid": read_policy("cot-mid")},
        costs=Costs(probe=20, answer=12),
        on_arm=lambda arm: done.append(arm.policy),
    )
    fixed, mid = found.arms
    assert done == [fixed.policy, mid.policy] == ["fixed", "mid"]
    assert (fixed.right.tolist(), mid.right.tolist()) == ([0.5, 1], [1, 0])
    assert mid.agrees.tolist() == [0.5, 0]
    assert mid.samples.tolist() == [3.5, 3], "probes"
    assert fixed.tokens.tolist() == [(202 + 266) / 2, 202]
    assert mid.tokens.tolist() == [(192 + 12 + 60 + 266 + 80) / 2, 192 + 12 + 60]
    assert mid.latency.tolist() == [(192 + 12 + 266) / 2, 192 + 12], "probes run beside it"
    assert found.parallel.tolist() == fixed.latency.tolist()
    assert (found.questions, found.groups) == (["q", "misled"], ["", "d · m"])
    first, second = found.rows()
    assert (first["slowdown"], first["spent"], first["difference"]) == (1, 1, 0)
    assert second["slowdown"] == pytest.approx((235 + 204) / (234 + 202))
    assert (second["accuracy"], second["difference"]) == (0.5, -0.25)


@given(recordings, st.sampled_from(["cot-mid", "cot-high", "probe-consistency:window=1"]))
def test_the_study_is_the_mean_over_single_chains(rows: list[Recorded], policy: str) -> None:
    rule = read_policy(policy)
    rows = [*rows, question(chain("5"), name="probed", gold="5")]
    found = study_chains(rows, {"p": rule}, costs=Costs(probe=3, answer=2)).arms[1]
    for i, row in enumerate(rows):
        ends = [replay_chain(one, rule, Costs(probe=3, answer=2)) for one in row.samples]
        assert found.latency[i] == np.mean([end.thought for end in ends])
        assert found.samples[i] == np.mean([end.probes for end in ends])
        assert found.tokens[i] == pytest.approx(
            np.mean([end.thought + 3 * end.probes for end in ends])
        )


def test_the_full_budget_comes_first_under_its_own_name() -> None:
    rows = [question(chain("555"))]
    policies = {"mid": read_policy("cot-mid"), "all of it": Fixed()}
    assert [arm.policy for arm in study_chains(rows, policies).arms] == ["all of it", "mid"]


def test_without_gold_there_is_agreement_alone() -> None:
    found = study_chains([question(chain("555", answer="5"))], {"mid": read_policy("cot-mid")})
    assert [(row["accuracy"], row["agreement"]) for row in found.rows()] == [(None, 1), (None, 1)]


# --- what is refused

PROBED = question(chain("555"))


@pytest.mark.parametrize(
    ("rows", "policy", "said"),
    [
        pytest.param([], "cot-mid", "no chain to replay", id="nothing"),
        pytest.param([question()], "cot-mid", "no chain to replay", id="no-samples"),
        pytest.param(
            [PROBED, question(name="q7")], "cot-mid", "q7: .*no samples", id="a-bare-question"
        ),
        pytest.param(
            [question(Sample("9", 100))], "cot-mid", "probes, and the recording has none", id="none"
        ),
        pytest.param([PROBED], "deer", "confidence of probes.*probe-confidence", id="confidence"),
        pytest.param([PROBED], "beta", "looks at votes, and these are single", id="votes"),
        pytest.param([PROBED], "esc & cot-mid", "looks at order, votes", id="votes-and-probes"),
        pytest.param(
            [PROBED, question(Sample("9", None), name="q7")], "cot-mid", "q7: a chain", id="tokens"
        ),
    ],
)
@pytest.mark.parametrize("what", ["study", "shorten"])
def test_what_cannot_be_replayed_is_named(
    rows: list[Recorded], policy: str, said: str, what: str
) -> None:
    rule = read_policy(policy)
    with pytest.raises(InputError, match=said):
        study_chains(rows, {"p": rule}) if what == "study" else shorten(rows, rule)


def test_a_chain_too_short_for_a_probe_is_fine_beside_others() -> None:
    rows = [PROBED, question(chain("", extra=20), name="short")]
    fixed, mid = study_chains(rows, {"mid": read_policy("cot-mid")}).arms
    assert (fixed.tokens[1], mid.tokens[1]) == (20, 20)


def test_a_rule_may_end_a_chain_that_has_said_nothing() -> None:
    class Impatient(ProbeConfidence):
        def decide(self, progress: Progress, /) -> Decision:
            return terminate(self.rule, progress, evidence=1.0)

    rule: Rule = Impatient()
    assert replay_chain(chain(".5"), rule, FREE) == ChainOutcome(None, 64, 1, certain=True)
