"""Programs: what is told of them, and what is measured."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dynasor_graph.errors import ConfigError
from dynasor_graph.scheduler.programs import Programs
from dynasor_graph.scheduler.standing import FIRST_ROUND


def test_what_is_told_is_kept_until_it_is_told_anew():
    programs = Programs()
    programs.tell("p", 1.0, algorithm="cot", tenant="gold", deadline=9.0, remaining=8)
    record = programs.tell("p", 5.0, remaining=3)
    known = programs.standing(record)
    assert (known.algorithm, known.tenant, known.deadline) == ("cot", "gold", 9.0)
    assert (known.arrived, known.remaining) == (1.0, 3)


def test_rounds_are_measured_by_the_requests_that_came_to_their_end():
    programs = Programs()
    record = programs.of("p", 0.0)
    assert programs.standing(record).round_tokens == FIRST_ROUND
    for tokens, ended in ((100, True), (7, False), (200, True)):
        programs.measure(record, tokens, ended=ended, seconds=1.0)
    known = programs.standing(record)
    assert (known.mean_tokens, known.generated) == (150.0, 307)
    assert programs.standing(programs.tell("p", 0.0, mean_tokens=40)).mean_tokens == 40


def test_the_pace_is_that_of_the_requests_that_ended_by_themselves_lately():
    programs = Programs()
    record = programs.of("p", 0.0)
    assert programs.standing(record).pace == 0.0
    programs.measure(record, 0, ended=True, seconds=1.0)
    assert programs.standing(record).pace == 0.0  # no token, no pace
    for tokens, seconds, ended in ((100, 3.0, True), (300, 9.0, True), (10, 99.0, False)):
        programs.measure(programs.of("q", 0.0), tokens, ended=ended, seconds=seconds)
    assert programs.standing(record).pace == pytest.approx(0.03, rel=0.1)
    for _ in range(1000):
        programs.measure(record, 100, ended=True, seconds=1.0)
    assert programs.standing(record).pace == pytest.approx(0.01, rel=0.001)


def test_a_first_round_is_expected_as_the_programs_of_its_algorithm_took():
    programs = Programs()
    for name, algorithm, tokens in (("a", "cot", 900), ("b", "sc", 100), ("c", "sc", 300)):
        record = programs.tell(name, 0.0, algorithm=algorithm)
        programs.measure(record, tokens, ended=True, seconds=1.0)
        programs.forget(name)
    assert programs.standing(programs.tell("d", 0.0, algorithm="sc")).work == 200
    assert programs.standing(programs.tell("e", 0.0, algorithm="cot")).work == 900
    assert programs.standing(programs.tell("f", 0.0, algorithm="mcts")).work == FIRST_ROUND


def test_many_rounds_of_one_program_count_once_in_the_mean_of_its_algorithm():
    programs = Programs()
    for mean in (100, 200, 300):
        programs.tell("a", 0.0, algorithm="sc", mean_tokens=mean)
    programs.tell("b", 0.0, algorithm="sc", mean_tokens=500)
    assert programs.standing(programs.tell("c", 0.0, algorithm="sc")).first_round == 400


def test_a_program_that_changes_its_algorithm_takes_its_rounds_along():
    programs = Programs()
    programs.tell("a", 0.0, algorithm="sc", mean_tokens=100)
    programs.tell("a", 0.0, algorithm="cot")
    assert programs.standing(programs.tell("b", 0.0, algorithm="sc")).first_round == FIRST_ROUND
    assert programs.standing(programs.tell("c", 0.0, algorithm="cot")).first_round == 100


def test_a_program_is_kept_as_long_as_somebody_needs_it():
    programs = Programs()
    told = programs.tell("told", 0.0)
    programs.drop_idle(told)
    asks = programs.of("asks", 0.0)
    asks.inside = 1
    programs.drop_idle(asks)
    assert len(programs) == 2
    asks.inside = 0
    programs.drop_idle(asks)
    programs.forget("told")
    programs.forget("unknown")
    assert len(programs) == 0


def test_requests_without_a_program_have_nothing_in_common():
    programs = Programs()
    assert programs.of("", 0.0) is not programs.of("", 0.0)
    assert len(programs) == 0


@pytest.mark.parametrize(
    ("program", "facts", "field"),
    [
        pytest.param("", {}, "name", id="no-name"),
        pytest.param("p", {"remaining": -1.0}, "remaining", id="negative-remaining"),
        pytest.param("p", {"remaining": math.nan}, "remaining", id="remaining-nan"),
        pytest.param("p", {"mean_tokens": math.inf}, "mean_tokens", id="endless-rounds"),
        pytest.param("p", {"deadline": math.inf}, "deadline", id="endless-deadline"),
    ],
)
def test_what_cannot_be_is_refused_by_name(program: str, facts: dict[str, Any], field: str):
    programs = Programs()
    with pytest.raises(ConfigError, match=field):
        programs.tell(program, 0.0, **facts)
    assert len(programs) == 0
