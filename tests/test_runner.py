"""Runner: many programs on one engine, results as they come, failures where they belong."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from dynasor_graph.algorithms import ALGORITHMS, Algorithm
from dynasor_graph.budget import Budget
from dynasor_graph.engine import DEFAULT, FakeEngine, engine_named, forget, register
from dynasor_graph.errors import (
    ConfigError,
    DynasorError,
    EngineDied,
    EngineError,
    EngineUnreachable,
    InputError,
    PromptTooLong,
    UnknownName,
)
from dynasor_graph.policies import Beta, Pacing, Value
from dynasor_graph.questions import Question
from dynasor_graph.results import Result
from dynasor_graph.runner import Runner, configure, solve, stream
from dynasor_graph.trace import TraceWriter, read_trace
from dynasor_graph.types import JSON, Delta, Request, StopReason
from tests.executor.stage import Thinker, replies, reply, until

pytestmark = pytest.mark.anyio


def ask(*texts: str) -> list[Question]:
    return [Question(id=f"id-{text}", text=text) for text in texts]


def by_text(**lines: str) -> Any:
    """Replies by a word in the question."""

    def answer(prompt: str, request: Request) -> str:
        return next(line for word, line in lines.items() if word in prompt)

    return answer


async def run_all(runner: Runner, questions: list[Question]) -> list[Result]:
    async with aclosing(runner.run(questions)) as results:
        return [result async for result in results]


# One program -----------------------------------------------------------------------------------


async def test_solve_gives_the_result_of_one_question():
    engine = FakeEngine(replies(["4", "4", "5"]))

    result = await solve("2 + 2?", engine=engine, policy="fixed", branches=3)

    assert (result.id, result.question, result.answer) == ("question", "2 + 2?", "4")
    assert (result.stop_reason, result.branches, result.rounds) == (StopReason.FINISHED, 3, 1)
    assert (result.gold, result.correct, result.error) == (None, None, None)
    assert result.usage.generated == (await engine.load()).generated
    assert result.latency_s > 0


async def test_solve_takes_the_engine_by_name_and_policies_and_budgets_as_values():
    engine = FakeEngine(replies(["4"]))
    register(DEFAULT, engine)
    try:
        result = await solve("q", policy=Beta(confidence=0.8), budget=Budget(branches=2))
    finally:
        forget(DEFAULT)

    assert (result.answer, len(engine.requests)) == ("4", 2)


async def test_an_engine_object_has_a_name_only_while_it_is_used():
    engine = FakeEngine(replies(["4"]))
    await solve("q", engine=engine)

    with pytest.raises(ConfigError, match="no engine is registered as 'fake"):
        await engine_named("fake#0")


@pytest.mark.parametrize(
    ("gold", "correct"),
    [
        pytest.param("0.5", True, id="the-same"),
        pytest.param("1/2", True, id="another-spelling"),
        pytest.param("\\frac{1}{2}", True, id="latex"),
        pytest.param("5", False, id="another-number"),
        pytest.param(None, None, id="not-known"),
    ],
)
async def test_correct_is_equality_and_not_a_comparison_of_strings(
    gold: str | None, correct: bool | None
):
    engine = FakeEngine(replies(["0.50"]))

    result = await solve(Question(id="x", text="q", gold=gold), engine=engine)

    assert (result.answer, result.gold, result.correct) == ("0.50", gold, correct)


async def test_no_answer_is_not_correct():
    engine = FakeEngine(replies([None]))

    result = await solve(Question(id="x", text="q", gold="4"), engine=engine)

    assert (result.answer, result.correct) == (None, False)


async def test_stream_tells_what_happens_and_then_the_result():
    engine = FakeEngine(replies(["4"]))
    async with aclosing(stream("q", engine=engine, policy="beta")) as parts:
        items = [part async for part in parts]

    kinds = [part["event"] if isinstance(part, dict) else "the result" for part in items]
    assert kinds[0] == "program"
    assert kinds[1:9] == ["branch", "decision"] * 4
    assert set(kinds[9:-2]) == {"branch"}  # those that were stopped, or ended too late
    assert kinds[-2:] == ["result", "the result"]
    start, last, result = items[0], items[-2], items[-1]
    assert isinstance(start, dict)
    assert isinstance(last, dict)
    assert isinstance(result, Result)
    assert (start["algorithm"], start["model"]) == ("self_consistency", "fake")
    assert start["settings"]["policy"] == "beta"
    assert not {"engine", "account"} & set(start["settings"])
    assert last["stop_reason"] == result.stop_reason == "certain"
    assert last["usage"] == result.usage.lines()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        pytest.param(
            {"algorithm": "mcts9"},
            UnknownName,
            r"unknown algorithm 'mcts9'.*there are:",
            id="algorithm",
        ),
        pytest.param({"policy": "lossles"}, ConfigError, r"did you mean 'lossless'", id="policy"),
        pytest.param(
            {"engine": "mine"},
            ConfigError,
            r"no engine is registered as 'mine'.*register",
            id="engine",
        ),
        pytest.param(
            {"budget": {"secs": 5}}, ConfigError, r"budget\.secs: Extra inputs.*got 5", id="budget"
        ),
        pytest.param(
            {"sampling": {"temperature": 3}},
            ConfigError,
            r"sampling\.temperature: .*less than or equal to 2, got 3",
            id="sampling",
        ),
    ],
)
async def test_wrong_names_and_settings_are_refused_with_field_value_and_cure(
    settings: dict[str, Any], error: type[DynasorError], message: str
):
    with pytest.raises(error, match=message):
        await solve("q", **{"engine": FakeEngine(), **settings})


async def test_an_empty_question_is_refused():
    with pytest.raises(InputError, match="question 'question' is empty"):
        await solve("  ", engine=FakeEngine())


async def test_a_prompt_that_is_too_long_is_refused():
    with pytest.raises(PromptTooLong):
        await solve("a question", engine=FakeEngine(context=20))


async def test_an_algorithm_of_ones_own_runs_like_a_built_in_one():
    built_in = ALGORITHMS["self_consistency"]
    mine = Algorithm("mine", "As the built-in one.", built_in.settings, built_in.graph)

    result = await solve("q", algorithm=mine, engine=FakeEngine(replies(["4"])))

    assert result.answer == "4"


# Many programs ---------------------------------------------------------------------------------


async def test_results_come_as_programs_end_whatever_the_order_of_the_questions():
    engine = FakeEngine(by_text(slow=reply("1", 400), fast=reply("2", 20), middle=reply("3", 200)))
    runner = Runner(engine=engine, policy="fixed", branches=2)

    results = await run_all(runner, ask("slow", "fast", "middle"))

    assert [result.question for result in results] == ["fast", "middle", "slow"]
    assert [result.answer for result in results] == ["2", "3", "1"]
    assert [result.id for result in results] == ["id-fast", "id-middle", "id-slow"]
    spent = sum(result.usage.generated for result in results)
    assert spent == (await engine.load()).generated


async def test_a_result_is_given_before_the_others_have_ended():
    engine = FakeEngine(by_text(slow=reply("1", 4000), fast=reply("2", 20)))
    runner = Runner(engine=engine, branches=1, policy="fixed", sampling={"max_tokens": 5000})

    async with aclosing(runner.run(ask("slow", "fast"))) as results:
        first = await anext(results)
        running = (await engine.load()).running

    assert (first.question, running) == ("fast", 1)


@pytest.mark.parametrize(
    ("programs", "most"),
    [
        pytest.param(1, 1, id="one-by-one"),
        pytest.param(3, 3, id="three"),
        pytest.param(99, 7, id="all"),
    ],
)
async def test_so_many_programs_are_in_flight_and_no_more(programs: int, most: int):
    lengths = itertools.cycle([400, 20, 200, 20])
    engine = FakeEngine(lambda prompt, request: reply("1", next(lengths)))
    assert await peak(7, engine=engine, programs=programs, branches=1, policy="fixed") == most


async def test_the_first_program_is_at_work_while_the_others_begin():
    begun = list[str]()
    begun_by_then = list[int]()

    def answer(prompt: str, request: Request) -> str:
        begun_by_then.append(len(begun))
        return reply("1", 40)

    def count(event: JSON) -> None:
        begun.extend([event["program"]] * (event["event"] == "program"))

    runner = Runner(engine=FakeEngine(answer), programs=100, branches=1, on_event=count)
    assert len(await run_all(runner, ask(*map(str, range(100))))) == 100
    assert begun_by_then[0] < 50


@pytest.mark.parametrize(
    ("algorithm", "settings", "seats", "most"),
    [
        pytest.param("self_consistency", {}, 0, 16, id="an-engine-that-does-not-say"),
        pytest.param("self_consistency", {}, 128, 32, id="twice-as-many-as-fill-it"),
        pytest.param("self_consistency", {"branches": 1}, 20, 40, id="chains-are-one-wide"),
        pytest.param("cot", {}, 20, 40, id="with-probes-too"),
        pytest.param(
            "self_consistency", {"budget": Budget(concurrency=64)}, 64, 16, id="never-fewer"
        ),
    ],
)
async def test_programs_fill_the_engine_unless_told(
    algorithm: str, settings: dict[str, Any], seats: int, most: int
):
    class Seated(FakeEngine):
        def __init__(self) -> None:
            super().__init__(lambda prompt, request: reply("1", 40))
            self.seats = seats

    told = {"branches": 2, **settings} if algorithm == "self_consistency" else settings
    assert await peak(60, algorithm, engine=Seated(), policy="fixed", **told) == most


async def peak(questions: int, *args: Any, **settings: Any) -> int:
    """The most programs that were in flight; all have ended, and each question has its result."""
    open_programs: set[str] = set()
    most = 0

    def watch(event: JSON) -> None:
        nonlocal most
        if event["event"] == "program":
            open_programs.add(event["program"])
        if event["event"] == "result":
            open_programs.remove(event["program"])
        most = max(most, len(open_programs))

    names = [f"q{i}" for i in range(questions)]
    results = await run_all(Runner(*args, on_event=watch, **settings), ask(*names))
    assert not open_programs
    assert sorted(result.question for result in results) == sorted(names)
    return most


async def test_questions_are_taken_only_as_there_is_room():
    taken: list[str] = []

    def endless() -> Iterator[Question]:
        while True:
            taken.append(f"q{len(taken)}")
            yield Question(id=taken[-1], text=taken[-1])

    runner = Runner(engine=FakeEngine(replies(["1"])), programs=3, branches=1, policy="fixed")
    async with aclosing(runner.run(endless())) as results:
        got = [await anext(results) for _ in range(5)]

    assert len(got) == 5
    assert len(taken) <= 5 + 3


async def test_a_runner_runs_again():
    engine = FakeEngine(replies(["1"]))
    runner = Runner(engine=engine, branches=1, policy="fixed")

    first = await run_all(runner, ask("a", "b"))
    second = await run_all(runner, ask("a", "b"))

    assert [r.question for r in first] == [r.question for r in second] == ["a", "b"]


async def test_no_questions_give_no_results():
    assert await run_all(Runner(engine=FakeEngine()), []) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"policy": "cot-mid"}, "looks at probes", id="policy"),
        pytest.param({"branchs": 3}, "branchs: Extra inputs", id="no-such-setting"),
        pytest.param({"programs": 0}, "programs must be at least 1, got 0", id="programs"),
    ],
)
def test_a_wrong_setting_shows_when_the_runner_is_made(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        Runner(engine=FakeEngine(), **settings)


# Failures --------------------------------------------------------------------------------------


def test_failures_of_single_programs_are_those_of_input_and_engine():
    assert issubclass(PromptTooLong, InputError)
    assert issubclass(EngineDied, EngineError)


async def test_a_program_that_fails_gives_a_row_with_its_error_and_the_others_go_on():
    events: list[JSON] = []
    engine = FakeEngine(replies(["4"]), context=60)
    runner = Runner(engine=engine, on_event=events.append, branches=2, policy="fixed")
    questions = ask("a", "much too long " * 9, "b")

    results = await run_all(runner, questions)

    failed = [result for result in results if result.error]
    assert [result.question for result in failed] == ["much too long " * 9]
    (row,) = failed
    assert row.error is not None
    assert row.error.startswith("PromptTooLong: the prompt has 144 tokens")
    assert (row.answer, row.correct, row.stop_reason, row.usage.net) == (None, None, None, 0)
    assert sorted(result.question for result in results if not result.error) == ["a", "b"]
    ends = [event for event in events if event["event"] == "result"]
    assert len(ends) == 3
    assert [event["error"] for event in ends if event["error"]] == [row.error]


async def test_an_engine_that_refuses_one_request_fails_that_program_alone():
    def answer(prompt: str, request: Request) -> str:
        if "bad" in prompt:
            raise EngineError("not this one")
        return reply("4")

    engine = FakeEngine(answer)

    results = await run_all(Runner(engine=engine), ask("a", "bad", "b"))

    errors = {result.question: result.error for result in results}
    assert errors == {"a": None, "bad": "EngineError: not this one", "b": None}
    load = await engine.load()
    assert (load.running, load.waiting) == (0, 0)


@pytest.mark.parametrize("programs", [pytest.param(1, id="one"), pytest.param(4, id="four")])
async def test_the_death_of_the_engine_is_raised_after_the_results_so_far(programs: int):
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    engine = FakeEngine(by_text(fast=reply("2", 20), slow=reply("1", 4000)))
    runner = Runner(
        engine=engine,
        programs=programs,
        branches=2,
        policy="fixed",
        sampling={"max_tokens": 5000},
    )

    async with aclosing(runner.run(ask("fast 1", "slow 1", "slow 2", "slow 3"))) as results:
        first = await anext(results)
        engine.kill()
        with pytest.raises(EngineDied, match="was killed"):
            await anext(results)

    assert first.question == "fast 1"
    load = await engine.load()
    assert (load.running, load.waiting) == (0, 0)
    gc.collect()
    assert complaints == []


class Unplugged(FakeEngine):
    """Its server goes away for every question with "bad" in it, once the plug is pulled."""

    def __init__(self, lines: Any) -> None:
        super().__init__(lines)
        self.plug = asyncio.Event()

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        if "bad" in await self.decode(request.tokens):
            await self.plug.wait()
            raise EngineUnreachable("no server answers")
        async with aclosing(super().stream(request)) as deltas:
            async for delta in deltas:
                yield delta


async def test_results_that_came_in_the_same_moment_as_failures_are_not_lost():
    async def read_on(results: AsyncGenerator[Result, None]) -> None:
        while True:
            got.append((await anext(results)).question)

    before = asyncio.all_tasks()
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    engine = Unplugged(by_text(fast=reply("2", 20), slow=reply("1", 900)))
    runner = Runner(engine=engine, branches=1, policy="fixed", sampling={"max_tokens": 1000})
    questions = ask("bad 1", "slow 1", "fast", "slow 2", "bad 2", "slow 3", "bad 3")

    async with aclosing(runner.run(questions)) as results:
        got = [(await anext(results)).question]
        engine.plug.set()
        await until(lambda: asyncio.all_tasks() <= before)  # the reader was busy: all have ended
        with pytest.raises(EngineUnreachable):
            await read_on(results)

    assert got == ["fast", "slow 1", "slow 2", "slow 3"]
    gc.collect()
    assert complaints == []  # no failure was left for the garbage collector to report


async def test_leaving_early_passes_over_what_failed_meanwhile():
    before = asyncio.all_tasks()
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    engine = Unplugged(by_text(fast=reply("2", 20)))
    runner = Runner(engine=engine, branches=1, policy="fixed")

    async with aclosing(runner.run(ask("bad 1", "fast", "bad 2"))) as results:
        assert (await anext(results)).question == "fast"
        engine.plug.set()
        await until(lambda: asyncio.all_tasks() <= before)

    gc.collect()
    assert complaints == []


async def test_leaving_early_frees_everything():
    before = asyncio.all_tasks()
    engine = FakeEngine(by_text(fast=reply("2", 20), slow=reply("1", 4000)), slots=5)
    runner = Runner(engine=engine, branches=4, policy="fixed", sampling={"max_tokens": 5000})

    async with aclosing(runner.run(ask("slow 1", "fast", "slow 2", "slow 3"))) as results:
        async for result in results:
            assert result.question == "fast"
            break

    load = await engine.load()
    assert (load.running, load.waiting) == (0, 0)
    assert asyncio.all_tasks() == before


async def test_cancelling_the_reader_frees_everything():
    engine = FakeEngine(replies(["1"]), slots=5)
    engine.gate.clear()
    runner = Runner(engine=engine, branches=4)
    task = asyncio.get_running_loop().create_task(run_all(runner, ask(*"abc")))
    await until(lambda: len(engine.requests) == 12)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    load = await engine.load()
    assert (load.running, load.waiting) == (0, 0)


# The trace -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithm", [pytest.param("self_consistency", id="votes"), pytest.param("cot", id="probes")]
)
async def test_events_make_a_trace_that_can_be_read_again(algorithm: str, tmp_path: Path):
    chain = Thinker("x" * 1500)
    engine = FakeEngine(chain if algorithm == "cot" else replies(["4", "4", "4", "4", "5", "4"]))
    questions = [Question(id=f"q{number}", text="q", gold="4") for number in range(3)]

    with TraceWriter(tmp_path / "trace.jsonl") as trace:
        runner = Runner(algorithm, engine=engine, on_event=trace.write)
        results = await run_all(runner, questions)

    programs = read_trace(tmp_path / "trace.jsonl")
    assert set(programs) == {"q0", "q1", "q2"}
    for result in results:
        program = programs[result.id]
        assert (program.start["question"], program.start["gold"]) == ("q", "4")
        assert program.start["algorithm"] == algorithm
        configure(algorithm, **program.start["settings"])  # can be run again as recorded
        assert program.result is not None
        assert Result.from_json(program.result).usage == result.usage
        assert program.result["answer"] == result.answer
        assert len(program.branches) == result.branches
        spent = sum(branch["tokens"] for branch in program.branches)
        spent += sum(row["tokens"] for row in [*program.probes, *program.answers])
        if algorithm == "self_consistency":
            assert spent == result.usage.generated
            assert len(program.decisions) == len(program.branches)
        else:
            assert spent <= result.usage.generated  # a probe that was stopped has no row
            assert len(program.decisions) == len(program.probes) == 3
        assert program.decisions[-1]["verdict"] == (result.decision or {})["verdict"]
        times = [row["t"] for row in [*program.branches, *program.decisions, program.result]]
        assert all(t >= 0 for t in times)


async def test_token_ids_are_in_the_trace_if_asked_for(tmp_path: Path):
    engine = FakeEngine(replies(["4"], tokens=20))

    with TraceWriter(tmp_path / "trace.jsonl") as trace:
        runner = Runner(
            engine=engine, on_event=trace.write, branches=2, policy="fixed", keep_tokens=True
        )
        await run_all(runner, ask("a"))

    (program,) = read_trace(tmp_path / "trace.jsonl").values()
    assert [row["token_ids"] for row in program.branches] == [list(reply("4", 20).encode())] * 2


# One budget for all ----------------------------------------------------------------------------


async def test_each_program_gets_the_price_at_which_the_budget_lasts():
    worth = tuple((0.001 * (20 - n),) for n in range(20))  # a branch less at each higher price
    rule = Value(
        kinds=("lengths",),
        bias=0.0,
        weights=(0.0, 0.0),
        edges=(),
        worth=worth,
        spends=tuple((0.001 * (21 - n), 24.0 * n) for n in range(20, 0, -1)),
    )
    rows: list[JSON] = []
    questions = ask(*(f"q{i}" for i in range(30)))
    # Every question costs what it did where the policy was fitted: 24 tokens a branch.
    runner = Runner(
        engine=FakeEngine(replies(["4"])),
        policy=rule,
        pacing=Pacing(rule, tokens=30 * 24 * 5, questions=30),
        programs=4,
        on_event=rows.append,
        branches=20,
        budget={"concurrency": 1},
    )
    results = await run_all(runner, questions)
    assert sum(result.usage.generated for result in results) == pytest.approx(30 * 24 * 5, rel=0.05)
    starts = [row for row in rows if row["event"] == "program"]
    # The trace says what each was given, so that it can be replayed.
    assert all(row["settings"]["policy"]["rule"] == "value" for row in starts)
    assert starts[0]["settings"]["policy"]["price"] == pytest.approx(0.001 * 16)


async def test_a_program_that_fails_gives_back_what_it_was_to_spend():
    rule = Value(
        kinds=("lengths",),
        bias=0.0,
        weights=(0.0, 0.0),
        edges=(),
        worth=((0.5,),),
        spends=((0.1, 100.0), (1.0, 50.0)),
    )
    pacing = Pacing(rule, tokens=1000, questions=2)
    runner = Runner(engine=FakeEngine(context=8), policy=rule, pacing=pacing, programs=1)
    results = await run_all(runner, ask("a question that is far too long for it", "another one"))
    assert all(result.error for result in results)
    assert pacing.spent == 0
