"""Budget and ledger: no hard limit is passed, by even one token, whatever the order of events."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from pydantic import ValidationError

from dynasor_graph.budget import Budget, Grant, Ledger, Usage
from dynasor_graph.errors import explain


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        pytest.param("tokens", 0, "tokens: .* greater than or equal to 1, got 0", id="tokens-0"),
        pytest.param("tokens", -5, "tokens: .* greater than or equal to 1, got -5", id="tokens"),
        pytest.param("tokens", 1.5, "tokens: .* valid integer.*, got 1.5", id="half-a-token"),
        pytest.param("seconds", 0, "seconds: .* greater than 0, got 0", id="seconds-0"),
        pytest.param("seconds", -1, "seconds: .* greater than 0, got -1", id="seconds"),
        pytest.param("seconds", float("nan"), "seconds: .* greater than 0, got nan", id="nan"),
        pytest.param("rounds", 0, "rounds: .* greater than or equal to 1, got 0", id="rounds-0"),
        pytest.param("branches", -1, "branches: .* equal to 1, got -1", id="branches"),
        pytest.param("concurrency", 0, "concurrency: .* equal to 1, got 0", id="no-window"),
        pytest.param("concurrency", None, "concurrency: .* integer, got None", id="no-limit"),
        pytest.param("token", 5, "token: Extra inputs are not permitted, got 5", id="typo"),
    ],
)
def test_a_budget_refuses_what_allows_nothing_and_says_which_field(
    field: str, value: Any, said: str
):
    with pytest.raises(ValidationError) as caught:
        Budget(**{field: value})
    with pytest.raises(ValueError, match=f"^budget: {said}$"):
        raise explain(caught.value, "budget")


def test_a_budget_without_limits_binds_nothing_but_the_window():
    budget = Budget()
    assert budget.model_dump(exclude={"concurrency"}) == {
        "tokens": None,
        "seconds": None,
        "slo": None,
        "rounds": None,
        "branches": None,
    }
    assert budget.concurrency >= 1


usages = st.builds(Usage, **{f.name: st.integers(0, 1000) for f in fields(Usage)})


@given(usages, usages)
def test_usages_add_line_by_line(a: Usage, b: Usage):
    both = a + b
    assert both == b + a
    assert a + Usage() == a
    for line in fields(Usage):
        assert getattr(both, line.name) == getattr(a, line.name) + getattr(b, line.name)
    assert both.generated == a.generated + b.generated
    assert both.net == a.net + b.net


@given(usages)
def test_a_usage_survives_json_in_both_forms(usage: Usage):
    assert Usage.from_json(usage.to_json()) == usage
    assert Usage.from_json(usage.lines()) == usage
    assert all(usage.lines().values())


def test_net_counts_all_work_and_gross_only_finished_branches():
    usage = Usage(
        main=1000,
        terminated=200,
        probe=30,
        probe_prefill=40,
        probe_cached=5000,
        reward=600,
        prompt=70,
        prompt_cached=8000,
    )
    assert usage.gross == 1000
    assert usage.generated == 1230
    assert usage.net == 1230 + 40 + 600
    assert usage.to_json()["gross"] == usage.gross
    assert usage.to_json()["net"] == usage.net


@pytest.mark.parametrize(
    ("limit", "want", "least", "granted"),
    [
        pytest.param(None, 50, 1, 50, id="no-limit"),
        pytest.param(100, 50, 1, 50, id="enough"),
        pytest.param(50, 50, 50, 50, id="exactly-enough"),
        pytest.param(30, 50, 1, 30, id="what-is-left"),
        pytest.param(30, 50, 30, 30, id="what-is-left-is-just-of-use"),
        pytest.param(30, 50, 31, None, id="what-is-left-is-of-no-use"),
        pytest.param(0, 50, 1, None, id="nothing-left"),
    ],
)
def test_a_ledger_grants_what_is_wanted_or_what_is_left_if_that_is_of_use(
    limit: int | None, want: int, least: int, granted: int | None
):
    ledger = Ledger(limit)
    grant = ledger.reserve(want, least)
    assert (grant.tokens if grant else None) == granted
    assert ledger.reserved == (granted or 0)


@pytest.mark.parametrize(
    ("want", "least"),
    [
        pytest.param(0, 1, id="nothing"),
        pytest.param(-1, 1, id="negative"),
        pytest.param(5, 0, id="least-0"),
        pytest.param(5, 6, id="least-above-want"),
    ],
)
def test_a_reservation_that_makes_no_sense_is_an_error(want: int, least: int):
    with pytest.raises(ValueError, match=rf"least must be between 1 and want \({want}\)"):
        Ledger(100).reserve(want, least)


def granted(ledger: Ledger, tokens: int) -> Grant:
    grant = ledger.reserve(tokens, tokens)
    assert grant is not None
    return grant


def test_settling_gives_back_what_was_not_used_everywhere():
    run = Ledger(100, source="run")
    program = Ledger(80, parent=run)
    grant = granted(program, 60)
    assert (program.remaining, run.remaining) == (20, 40)
    program.settle(grant, Usage(main=10, probe=5, prompt=999))
    assert (program.remaining, run.remaining) == (65, 85)
    assert program.usage == run.usage == Usage(main=10, probe=5, prompt=999)
    assert program.reserved == run.reserved == 0


def test_a_grant_is_settled_once():
    ledger = Ledger(100)
    grant = granted(ledger, 10)
    ledger.settle(grant, Usage(main=10))
    with pytest.raises(ValueError, match=f"grant {grant.serial} is not open"):
        ledger.settle(grant, Usage(main=10))
    assert (ledger.usage, ledger.remaining) == (Usage(main=10), 90)


@pytest.mark.parametrize(
    "usage",
    [
        pytest.param(Usage(main=11), id="main"),
        pytest.param(Usage(main=6, probe=5), id="with-probes"),
        pytest.param(Usage(terminated=11), id="terminated"),
    ],
)
def test_more_than_was_granted_is_refused_and_the_grant_stays_open(usage: Usage):
    run = Ledger(100)
    ledger = Ledger(100, parent=run)
    grant = granted(ledger, 10)
    with pytest.raises(ValueError, match="11 tokens were generated under a grant of 10"):
        ledger.settle(grant, usage)
    assert ledger.usage == run.usage == Usage()
    ledger.settle(grant, Usage(main=10))
    assert ledger.usage == run.usage == Usage(main=10)


def test_a_grant_of_another_ledger_is_refused():
    one, other = Ledger(100), Ledger(100)
    mine, theirs = granted(one, 10), granted(other, 10)
    with pytest.raises(ValueError, match="is not open on this ledger"):
        one.settle(theirs, Usage(main=10))
    one.settle(mine, Usage(main=10))
    assert (one.reserved, other.reserved) == (0, 10)


def test_a_program_that_spent_more_before_than_it_now_may_gets_nothing():
    ledger = Ledger(10, usage=Usage(main=20))
    assert ledger.remaining == 0
    assert ledger.reserve(1) is None
    limit = ledger.spent_limit()
    assert limit is not None
    assert (limit.limit, limit.used) == (10, 20)


@pytest.mark.parametrize(
    ("run_limit", "program_limit", "source"),
    [
        pytest.param(100, 10, "program", id="its-own"),
        pytest.param(10, 100, "run", id="the-runs"),
        pytest.param(10, None, "run", id="the-only-one"),
        pytest.param(10, 10, "program", id="both-so-the-nearer"),
        pytest.param(100, 100, None, id="neither"),
        pytest.param(None, None, None, id="there-is-none"),
    ],
)
def test_the_limit_that_binds_says_whose_it_is(
    run_limit: int | None, program_limit: int | None, source: str | None
):
    program = Ledger(program_limit, parent=Ledger(run_limit, source="run"))
    assert program.spent_limit() is None
    program.settle(granted(program, 10), Usage(main=10))
    limit = program.spent_limit()
    assert (limit.source if limit else None) == source
    if limit is not None:
        assert (limit.resource, limit.limit, limit.used) == ("tokens", 10, 10)


def test_what_is_promised_binds_like_what_is_spent():
    ledger = Ledger(10)
    grant = granted(ledger, 10)
    limit = ledger.spent_limit()
    assert limit is not None
    assert limit.used == 0
    ledger.settle(grant, Usage())
    assert ledger.spent_limit() is None


def test_tokens_promised_to_others_may_still_come_back():
    run = Ledger(10, source="run")
    one, other = Ledger(parent=run), Ledger(parent=run)
    grant = granted(one, 10)
    assert not one.promised_elsewhere
    assert other.promised_elsewhere
    assert Ledger(parent=other).promised_elsewhere
    one.settle(grant, Usage(main=4))
    assert not other.promised_elsewhere
    assert other.remaining == 6


def test_what_a_closed_ledger_had_promised_counts_as_spent():
    run = Ledger(100, source="run")
    program = Ledger(80, parent=run)
    lost, settled = granted(program, 30), granted(program, 20)
    program.settle(settled, Usage(main=5))
    program.close()
    assert program.usage == run.usage == Usage(main=5, terminated=30)
    assert (program.reserved, run.reserved) == (0, 0)
    assert (program.remaining, run.remaining) == (45, 65)
    with pytest.raises(ValueError, match="is not open"):
        program.settle(lost, Usage(main=30))
    program.close()
    assert run.usage == Usage(main=5, terminated=30)


limits = st.none() | st.integers(0, 60)


class Ledgers(RuleBasedStateMachine):
    """A run, its programs and their branches, with requests that begin and end in any order."""

    ledgers: Bundle[Ledger] = Bundle("ledgers")
    grants: Bundle[tuple[Ledger, Grant]] = Bundle("grants")
    closed: Bundle[tuple[Ledger, Grant]] = Bundle("closed")

    def __init__(self) -> None:
        super().__init__()
        self.parents: dict[Ledger, Ledger | None] = {}
        self.open: dict[tuple[Ledger, Grant], int] = {}
        self.settled: dict[Ledger, Usage] = {}

    def around(self, ledger: Ledger | None) -> list[Ledger]:
        """The ledger and all around it."""
        found = []
        while ledger is not None:
            found.append(ledger)
            ledger = self.parents[ledger]
        return found

    @rule(target=ledgers, limit=limits)
    def a_run_opens(self, limit: int | None) -> Ledger:
        return self._new(limit, None)

    @rule(target=ledgers, limit=limits, parent=ledgers)
    def a_ledger_opens_inside(self, limit: int | None, parent: Ledger) -> Ledger:
        return self._new(limit, parent)

    def _new(self, limit: int | None, parent: Ledger | None) -> Ledger:
        ledger = Ledger(limit, parent=parent)
        self.parents[ledger], self.settled[ledger] = parent, Usage()
        return ledger

    @rule(target=grants, ledger=ledgers, want=st.integers(1, 40), data=st.data())
    def a_request_is_sent(self, ledger: Ledger, want: int, data: st.DataObject):
        least = data.draw(st.integers(1, want))
        left = ledger.remaining
        grant = ledger.reserve(want, least)
        if grant is None:
            assert left is not None
            assert left < least
            return None
        assert grant.tokens == (want if left is None else min(want, left)) >= least
        self.open[ledger, grant] = grant.tokens
        return ledger, grant

    @rule(target=closed, held=consumes(grants), data=st.data())
    def a_request_ends(self, held: tuple[Ledger, Grant] | None, data: st.DataObject):
        if held is None:
            return None
        ledger, grant = held
        if held not in self.open:  # its ledger was closed
            with pytest.raises(ValueError, match="is not open"):
                ledger.settle(grant, Usage())
            return held
        main = data.draw(st.integers(0, grant.tokens))
        probe = data.draw(st.integers(0, grant.tokens - main))
        usage = Usage(main=main, probe=probe, prompt=data.draw(st.integers(0, 500)))
        ledger.settle(grant, usage)
        del self.open[held]
        for one in self.around(ledger):
            self.settled[one] += usage
        return held

    @rule(ledger=ledgers)
    def a_ledger_closes(self, ledger: Ledger):
        if any(ledger in self.around(one)[1:] for one, _ in self.open):
            return  # what runs inside it closes first
        ledger.close()
        for held in [held for held in self.open if held[0] is ledger]:
            lost = Usage(terminated=self.open.pop(held))
            for one in self.around(ledger):
                self.settled[one] += lost

    @rule(held=grants)
    def a_request_reports_too_much(self, held: tuple[Ledger, Grant] | None):
        if held in self.open:
            with pytest.raises(ValueError, match="under a grant of"):
                held[0].settle(held[1], Usage(main=held[1].tokens + 1))

    @rule(held=closed)
    def a_request_reports_twice(self, held: tuple[Ledger, Grant] | None):
        if held is not None:
            with pytest.raises(ValueError, match="is not open"):
                held[0].settle(held[1], Usage())

    @invariant()
    def no_limit_is_passed_and_nothing_is_lost(self):
        for ledger, settled in self.settled.items():
            reserved = sum(
                tokens for (one, _), tokens in self.open.items() if ledger in self.around(one)
            )
            assert ledger.usage == settled
            assert ledger.reserved == reserved
            if ledger.limit is not None:
                assert ledger.usage.generated + reserved <= ledger.limit
            assert ledger.remaining is None or ledger.remaining >= 0
            assert (ledger.remaining == 0) == (ledger.spent_limit() is not None)


Ledgers.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_no_interleaving_of_nested_ledgers_passes_a_limit = Ledgers.TestCase


@pytest.mark.parametrize(
    ("usage", "decision", "saved"),
    [
        pytest.param(Usage(main=500), None, 0, id="nobody-was-asked"),
        pytest.param(Usage(main=500), {"saved": 0}, 0, id="went-to-the-cap"),
        pytest.param(Usage(main=500, probe=9, probe_prefill=40), {}, -49, id="probes-for-nothing"),
        # 4 of 20 branches of 25 tokens; 7 more were in flight and came to their end, 1 was stopped.
        pytest.param(
            Usage(main=275, terminated=10), {"saved": 400, "tokens": 100}, 215, id="in-flight"
        ),
        # A chain of 300 of 1,100 tokens, 4 probes of 8, and a last word of 10.
        pytest.param(
            Usage(main=310, probe=32, probe_prefill=100),
            {"saved": 800, "tokens": 332},
            658,
            id="probed-chain",
        ),
        pytest.param(Usage(main=9, probe_prefill=40), {"saved": 5, "tokens": 9}, -35, id="a-loss"),
    ],
)
def test_savings_are_net_of_what_came_after_the_decision_and_of_probes(
    usage: Usage, decision: dict[str, int] | None, saved: int
):
    assert usage.saved_by(decision) == saved
