"""Facts: what an engine says of itself, and what is taken of one that says nothing."""

from __future__ import annotations

from dynasor_graph.engine import FakeEngine, Watcher
from dynasor_graph.scheduler.facts import Facts


class Talkative(FakeEngine):
    """Says all that a scheduler would like to know."""

    seats, surcharge = 8, 0.005
    watcher: Watcher | None = None

    def watch(self, watcher: Watcher) -> bool:
        self.watcher = watcher
        return True


def test_an_engine_that_says_nothing_is_taken_to_have_no_seats_and_no_surcharge():
    facts = Facts(FakeEngine())
    assert (facts.seats, facts.surcharge) == (0, 0.0)
    assert not facts.watch(lambda begun, ended: None)


def test_what_an_engine_says_may_change():
    engine = Talkative()
    facts = Facts(engine)
    assert (facts.seats, facts.surcharge) == (8, 0.005)
    engine.seats, engine.surcharge = 16, 0.004
    assert (facts.seats, facts.surcharge) == (16, 0.004)


def test_an_engine_that_tells_of_its_steps_is_watched():
    engine, told = Talkative(), list[int]()
    assert Facts(engine).watch(lambda begun, ended: told.append(len(begun)))
    assert engine.watcher is not None
    engine.watcher([], [])
    assert told == [0]
