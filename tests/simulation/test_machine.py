"""Machine: who runs when, and how long it takes; against sums by hand and against plain steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.errors import PromptTooLong
from dynasor_graph.simulation import INSTANT, Job, Machine, Speed
from dynasor_graph.simulation.job import Ids


def speed(**more: Any) -> Speed:
    return Speed(**{"fixed": 1.0, "block": 4, "max_num_batched_tokens": 256} | more)


def said(token: int) -> Ids:
    """One token again and again."""
    return lambda start, end: (token,) * (end - start)


def job(prompt: int = 4, most: int = 10, *, of: int = 0, **more: Any) -> Job:
    """A job with a prompt of its own, or one that starts as others of the same number do."""
    start = of or next_number()
    tokens = tuple(1000 * start + i for i in range(prompt))
    mine = next_number()
    return Job(prompt=tokens, most=most, ids=said(-mine), **more)


_numbers = iter(range(100, 10**9))


def next_number() -> int:
    return next(_numbers)


def play(machine: Machine, arrivals: Iterable[tuple[float, Job]]) -> dict[Job, float]:
    """Let everything run to its end; when each job ended."""
    waiting = sorted(arrivals, key=lambda pair: pair[0])
    ended: dict[Job, float] = {}
    while True:
        event = machine.next_event
        if waiting and (event is None or waiting[0][0] < event):
            at, one = waiting.pop(0)
            told = machine.advance(at)
            machine.submit(one, at)
        elif event is None:
            return ended
        else:
            at = event
            told = machine.advance(at)
        ended |= {one: at for one in told if one.place == "ended"}


def at_once(machine: Machine, *jobs: Job) -> list[float]:
    ended = play(machine, [(0.0, one) for one in jobs])
    return [ended[one] for one in jobs]


# Time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "jobs", "seconds"),
    [
        pytest.param({}, [(4, 10)], [10.0], id="one-step-a-token"),
        pytest.param({}, [(4, 10), (4, 3)], [10.0, 3.0], id="in-the-same-steps"),
        pytest.param({"per_sequence": 0.5}, [(4, 10), (4, 3)], [16.5, 6.0], id="each-slows-others"),
        pytest.param({"per_prompt_token": 0.25}, [(8, 2)], [4.0], id="the-prompt-first"),
        pytest.param({"per_request": 2.0}, [(8, 2), (8, 1)], [6.0, 5.0], id="beginning"),
        # It attends 4, 5 and 6 tokens: the newest token is computed in the step after it was made.
        pytest.param({"per_context_token": 0.5}, [(4, 3)], [3 + 7.5], id="longer-and-longer"),
    ],
)
def test_a_step_takes_what_is_in_it(
    costs: dict[str, float], jobs: list[tuple[int, int]], seconds: list[float]
):
    assert at_once(Machine(speed(**costs)), *(job(*one) for one in jobs)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("tokens", "seconds"),
    [
        # The second prompt is computed with what the first leaves of a step: 3, 3, 4 and 3 tokens.
        pytest.param(4, [5.0, 9.0], id="less-than-a-prompt"),
        pytest.param(16, [3.0, 4.0], id="the-rest-of-the-first-step"),
        pytest.param(25, [3.0, 3.0], id="both-at-once"),
    ],
)
def test_a_step_computes_no_more_tokens_than_it_may(tokens: int, seconds: list[float]):
    machine = Machine(speed(max_num_seqs=4, max_num_batched_tokens=tokens))
    assert at_once(machine, job(12, 3), job(13, 3)) == seconds


@pytest.mark.parametrize(("chunked", "seconds"), [(True, 3.0), (False, 4.0)])
def test_a_prompt_that_may_not_be_cut_waits_for_a_step_that_holds_it(chunked: bool, seconds: float):
    machine = Machine(speed(max_num_seqs=4, max_num_batched_tokens=16, chunked_prefill=chunked))
    # Beside two that decode there are 14 tokens left in a step; these two end at 3.0.
    assert at_once(machine, job(8, 3), job(8, 3), job(15, 1)) == [3.0, 3.0, seconds]


def test_who_comes_in_the_middle_of_a_step_waits_for_its_end():
    machine = Machine(speed(per_sequence=1.0))
    first, second = job(4, 4), job(4, 1)
    ended = play(machine, [(0.0, first), (2.5, second)])
    assert ended[second] == 4.0 + 3.0
    assert ended[first] == 2 + 2 + 3 + 2


def test_who_comes_at_the_end_of_a_step_is_in_the_next():
    first, second = job(4, 4), job(4, 1)
    ended = play(Machine(speed()), [(0.0, first), (2.0, second)])
    assert ended[second] == 3.0


def test_a_machine_that_was_idle_begins_when_somebody_comes():
    machine = Machine(speed())
    assert machine.next_event is None
    late = job(4, 2)
    assert play(machine, [(0.0, job(4, 1)), (50.0, late)])[late] == 52.0


# Who goes first --------------------------------------------------------------------------------


def test_seats_go_by_priority_then_arrival_and_are_never_taken_away():
    machine = Machine(speed(max_num_seqs=1))
    first, low, high, late = job(most=5), job(most=5, priority=1), job(most=5), job(most=5)
    urgent = job(most=5, priority=-1)
    arrivals = [(0.0, first), (1.0, low), (2.0, high), (3.0, late), (4.0, urgent)]
    ended = play(machine, arrivals)
    assert sorted(ended, key=ended.__getitem__) == [first, urgent, high, late, low]
    assert (machine.preemptions, ended[first]) == (0, 5.0)


def test_a_job_that_finds_no_room_waits_and_nobody_overtakes_it():
    machine = Machine(speed(kv_tokens=32))
    first, large, small = job(16, 4), job(20, 4), job(4, 4)
    assert at_once(machine, first, large, small) == [4.0, 8.0, 8.0]


def test_the_last_of_the_lowest_priority_is_preempted_and_computed_again():
    machine = Machine(speed(kv_tokens=32, per_prompt_token=0.01))
    first, second = job(8, 16), job(8, 16)
    ended = at_once(machine, first, second)
    assert ended[0] < ended[1]
    assert machine.preemptions == 1
    # In step 9 both would need a fifth block. Room for the first drops two of the second's.
    assert 0 < machine.recomputed <= 16
    assert machine.generated == 32


def test_of_two_that_run_the_less_urgent_is_preempted_though_it_was_there_first():
    machine = Machine(speed(kv_tokens=32))
    lax, urgent = job(8, 16, priority=1), job(8, 16)
    ended = play(machine, [(0.0, lax), (1.0, urgent)])
    assert ended[urgent] == 17.0
    assert ended[lax] > 17.0


def test_what_could_never_run_is_refused():
    machine = Machine(speed(kv_tokens=32))
    with pytest.raises(PromptTooLong, match="25 tokens"):
        machine.submit(job(25, 8), 0.0)
    assert machine.next_event is None


# The prefix cache ------------------------------------------------------------------------------


def test_branches_find_their_prompt_in_whole_blocks_but_for_the_last_token():
    machine = Machine(speed())
    jobs = [job(8, 2, of=1), job(8, 2, of=1), job(10, 2, of=1)]
    at_once(machine, *jobs)
    assert [one.cached for one in jobs] == [0, 4, 8]
    assert machine.prompt_computed == 8 + 4 + 2


def test_what_was_made_can_be_continued_once_it_ended_and_by_its_program_before():
    machine = Machine(speed())
    thought = Job(prompt=(1, 2, 3, 4), most=16, ids=said(7), program="p")
    probes = {name: Job(prompt=(1, 2, 3, 4, *[7] * 9), most=1, program=name) for name in "pq"}
    late = Job(prompt=(1, 2, 3, 4, *[7] * 12), most=1, program="r")
    ended = play(machine, [(0.0, thought), *((10.0, one) for one in probes.values()), (30.0, late)])
    # At 10.0 the first 9 made tokens are in the cache: 13 with the prompt, three whole blocks.
    assert [probes["p"].cached, probes["q"].cached, late.cached] == [12, 12, 12]
    assert ended[thought] == 16.0


def test_another_program_does_not_find_what_is_still_being_made():
    machine = Machine(speed())
    thought = Job(prompt=(1, 2, 3, 4), most=16, ids=said(7), program="p")
    probe = Job(prompt=(1, 2, 3, 4, *[7] * 9), most=1, program="q")
    play(machine, [(0.0, thought), (10.0, probe)])
    assert probe.cached == 4


def test_what_nobody_used_for_longest_is_dropped_when_the_room_is_needed():
    machine = Machine(speed(kv_tokens=32))
    old, new, large = job(13, 1, of=1), job(13, 1, of=2), job(16, 1)
    again = [job(13, 1, of=2), job(13, 1, of=1)]
    play(machine, [(10.0 * i, one) for i, one in enumerate([old, new, large, *again])])
    assert [one.cached for one in again] == [12, 0]


# Ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "made", "others"),
    [
        pytest.param(0.0, 0, 10.0, id="at-once"),
        pytest.param(5.0, 2, 2 * 3 + 7, id="in-a-step"),
        pytest.param(4.0, 2, 2 * 2 + 8, id="between-two"),
    ],
)
def test_an_aborted_job_keeps_what_it_made_and_its_step_goes_on(
    at: float, made: int, others: float
):
    machine = Machine(speed(fixed=0.0, per_sequence=1.0))
    stopped, other = job(), job()
    machine.submit(stopped, 0.0)
    machine.submit(other, 0.0)
    machine.advance(at)
    machine.abort(stopped, at)
    machine.abort(stopped, at)
    assert (stopped.made, stopped.place) == (made, "ended")
    assert play(machine, [])[other] == others
    assert machine.load(99.0).generated == made + 10


def test_an_aborted_job_that_waits_never_begins():
    machine = Machine(speed(max_num_seqs=1))
    first, second, third = job(), job(), job()
    for one in (first, second, third):
        machine.submit(one, 0.0)
    machine.advance(1.5)
    machine.abort(second, 1.5)
    load = machine.load(1.5)
    assert (load.running, load.waiting, load.generated) == (1, 1, 1)
    assert play(machine, []) == {first: 10.0, third: 20.0}


def test_a_reader_is_told_every_chunk_and_at_the_end():
    machine, one = Machine(speed()), job(4, 10, chunk=4)
    machine.submit(one, 0.0)
    told = []
    while (event := machine.next_event) is not None:
        told += [(event, each.told) for each in machine.advance(event)]
    assert told == [(4.0, 4), (8.0, 8), (10.0, 10)]


def test_the_load_is_that_of_the_moment():
    machine = Machine(speed(kv_tokens=32, max_num_seqs=2))
    for one in (job(4, 8), job(4, 8), job(4, 8)):
        machine.submit(one, 0.0)
    machine.advance(INSTANT)
    load = machine.load(INSTANT)
    assert (load.running, load.waiting, load.kv_usage, load.prompt_computed) == (2, 1, 0.25, 8)
    machine.advance(2.5)
    assert machine.load(2.5).kv_usage == 0.5  # six tokens each: two blocks
    assert machine.load(2.5).generated == 4


def test_a_long_job_costs_no_more_looks_than_a_short_one():
    machine = Machine(speed(kv_tokens=20_000_000, per_context_token=1e-9))
    machine.submit(Job(prompt=(1, 2, 3), most=10_000_000), 0.0)
    looks = 0
    while (event := machine.next_event) is not None:
        machine.advance(event)
        looks += 1
    assert machine.steps == machine.generated == 10_000_000
    assert looks < 5


# Against plain steps ---------------------------------------------------------------------------

requests = st.lists(
    st.tuples(
        st.integers(0, 40),  # arrival
        st.integers(1, 20),  # prompt
        st.integers(1, 20),  # most
        st.integers(-1, 1),  # priority
        st.integers(0, 3),  # which prompt
        st.integers(0, 7),  # chunk
    ),
    min_size=1,
    max_size=12,
)
limits = st.fixed_dictionaries(
    {
        "max_num_seqs": st.integers(1, 6),
        "max_num_batched_tokens": st.integers(6, 64),
        "kv_tokens": st.integers(40, 120),
        "block": st.integers(1, 5),
        "per_sequence": st.sampled_from([0.0, 0.25]),
        "per_context_token": st.sampled_from([0.0, 0.125]),
        "per_prompt_token": st.sampled_from([0.0, 0.5]),
    }
)


def jobs_of(found: list[tuple[int, ...]], limits: dict[str, Any], chunk: int | None) -> list[Any]:
    return [
        (
            float(at),
            Job(
                prompt=tuple(100 * which + i for i in range(prompt)),
                most=min(most, Speed(fixed=1.0, **limits).context - prompt),
                chunk=own if chunk is None else chunk,
                priority=priority,
                ids=said(which),
            ),
        )
        for at, prompt, most, priority, which, own in found
    ]


@given(requests, limits)
def test_jumping_over_equal_steps_gives_what_single_steps_give(
    found: list[tuple[int, ...]], limits: dict[str, Any]
):
    jumping, stepping = (Machine(Speed(fixed=1.0, **limits)) for _ in range(2))
    a, b = jobs_of(found, limits, None), jobs_of(found, limits, 1)  # a chunk of 1 ends each phase
    ended, slowly = play(jumping, a), play(stepping, b)
    for (_, one), (_, other) in zip(a, b, strict=True):
        assert ended[one] == pytest.approx(slowly[other])
        assert (one.made, one.cached) == (one.most, other.cached)
    assert jumping.preemptions == stepping.preemptions
    assert (jumping.steps, jumping.recomputed) == (stepping.steps, stepping.recomputed)


@given(requests, limits)
def test_nothing_is_lost_and_no_limit_is_passed(
    found: list[tuple[int, ...]], limits: dict[str, Any]
):
    machine = Machine(Speed(fixed=1.0, **limits))
    jobs = jobs_of(found, limits, None)
    for _, one in jobs:
        machine.submit(one, 0.0)
    while (event := machine.next_event) is not None:
        load = machine.load(event)
        assert load.running <= limits["max_num_seqs"]
        assert load.kv_usage <= 1
        machine.advance(event)
    load = machine.load(machine.now)
    assert (load.running, load.waiting, load.kv_usage) == (0, 0, 0)
    assert load.generated == machine.generated == sum(one.most for _, one in jobs)
