"""Replay engine: recorded samples under the live executor, in virtual seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import pytest

from dynasor_graph.algorithms.cot import PROBE
from dynasor_graph.budget import Budget
from dynasor_graph.engine import Engine, complete
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.errors import ConfigError, EngineError, InputError, PromptTooLong
from dynasor_graph.questions import Question
from dynasor_graph.recordings import Probed, Recorded, Sample
from dynasor_graph.replay import ReplayEngine
from dynasor_graph.results import Result
from dynasor_graph.runner import Runner
from dynasor_graph.types import JSON, Completion, Delta, Load, Message, Request, StopReason

T = TypeVar("T")
SPEED = 10.0


def row(*samples: Sample, name: str = "q") -> Recorded:
    return Recorded(id=name, samples=samples, question=f"text of {name}", model="m")


def samples(tokens: Sequence[int], answers: Sequence[str | None] = ()) -> list[Sample]:
    """One sample for each number of tokens; all answer 1 if nothing is said."""
    return [
        Sample(answer, n) for n, answer in zip(tokens, answers or ["1"] * len(tokens), strict=True)
    ]


def ask(*ids: str) -> list[Question]:
    return [Question(id=name, text=f"text of {name}") for name in ids]


def play(
    engine: ReplayEngine, algorithm: str = "self_consistency", *ids: str, **settings: Any
) -> tuple[list[Result], list[JSON], Load]:
    """Run questions under the live code: results, events, and what the engine counted."""
    events: list[JSON] = []
    settings = {"sampling": {"max_tokens": engine.longest}} | settings

    async def main() -> tuple[list[Result], Load]:
        runner = Runner(algorithm, engine=engine, on_event=events.append, **settings)
        async with aclosing(runner.run(ask(*ids or ("q",)))) as results:
            found = [result async for result in results]
        return found, await engine.load()

    results, load = run_virtual(main())
    assert load.running == load.waiting == 0
    assert load.generated == sum(result.usage.generated for result in results)
    return results, events, load


def only(found: tuple[list[Result], list[JSON], Load]) -> Result:
    (result,) = found[0]
    assert result.error is None
    return result


async def prompt(engine: Engine, text: str = "text of q", **more: Any) -> tuple[int, ...]:
    return tuple(await engine.render([{"role": "user", "content": text}], **more))


async def deltas_of(engine: Engine, request: Request) -> list[tuple[float, Delta]]:
    """When each delta came, and what it was."""
    clock = asyncio.get_running_loop().time
    async with aclosing(engine.stream(request)) as deltas:
        return [(clock(), delta) async for delta in deltas]


def with_engine(
    what: Callable[[ReplayEngine], Coroutine[Any, Any, T]], *recorded: Recorded, **options: Any
) -> T:
    engine = ReplayEngine(recorded, **{"tokens_per_second": SPEED} | options)
    return run_virtual(what(engine))


# One request -----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [0, 1, 7, 64])
@pytest.mark.parametrize(
    ("sample", "said"),
    [
        pytest.param(Sample("42", 1), "\\boxed{42}", id="one-token"),
        pytest.param(Sample("42", 2), "\\boxed{42}", id="two-tokens"),
        pytest.param(Sample("\\frac{1}{2}", 50), "." * 48 + "\\boxed{\\frac{1}{2}}", id="fifty"),
        pytest.param(Sample(None, 9), "." * 7, id="no-answer"),
        pytest.param(
            Sample("é", 9, probes=(Probed(2, "é"),)),
            "." * 7 + "\n</think>\n\\boxed{é}",
            id="thought-and-answer",
        ),
    ],
)
def test_a_request_takes_the_tokens_of_its_sample_and_says_its_answer(
    sample: Sample, said: str, chunk: int
):
    async def main(engine: ReplayEngine) -> None:
        request = Request(tokens=await prompt(engine), max_tokens=100, chunk=chunk)
        found = await deltas_of(engine, request)
        whole = Completion()
        for at, delta in found:
            whole.add(delta)
            assert at == pytest.approx(whole.tokens / SPEED)
        assert (whole.tokens, whole.text, whole.finish_reason) == (sample.tokens, said, "stop")
        assert await engine.decode(whole.token_ids) == said
        assert len(found) == (-(-whole.tokens // chunk) if chunk else 1)
        assert [delta.finish_reason for _, delta in found[:-1]] == [None] * (len(found) - 1)
        assert (await engine.load()).generated == whole.tokens

    with_engine(main, row(sample))


def test_a_request_is_cut_at_its_limit_and_its_tokens_can_be_continued():
    async def main(engine: ReplayEngine) -> tuple[Completion, Completion]:
        tokens = await prompt(engine)
        head = await complete(engine, Request(tokens=tokens, max_tokens=30))
        rest = await complete(engine, Request(tokens=(*tokens, *head.token_ids), max_tokens=100))
        return head, rest

    head, rest = with_engine(main, row(*samples([50, 60], ["7", "8"])))
    assert (head.tokens, head.finish_reason, head.text) == (30, "length", "." * 30)
    assert (rest.tokens, rest.finish_reason, rest.text) == (20, "stop", "." * 18 + "\\boxed{7}")


def test_requests_run_beside_each_other_and_the_load_counts_them_on_the_way():
    async def main(engine: ReplayEngine) -> list[tuple[int, int]]:
        tokens = await prompt(engine)
        seen = []
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(complete(engine, Request(tokens=tokens, max_tokens=100)))
            for _ in range(4):
                await asyncio.sleep(1.05)
                load = await engine.load()
                seen.append((load.running, load.generated))
        return seen

    assert with_engine(main, row(*samples([10, 30, 40]))) == [(2, 30), (2, 52), (1, 71), (0, 80)]


@pytest.mark.parametrize(
    ("at", "tokens"),
    [
        pytest.param(0.0, 0, id="at-once"),
        pytest.param(0.09, 0, id="before-the-first-token"),
        pytest.param(2.0, 20, id="with-a-token"),
        pytest.param(2.09, 20, id="between-two"),
        pytest.param(4.0, 40, id="with-a-token-but-for-rounding"),
        pytest.param(9.999, 99, id="before-the-last"),
    ],
)
@pytest.mark.parametrize("chunk", [0, 16])
def test_an_aborted_request_keeps_what_was_made(at: float, tokens: int, chunk: int):
    async def main(engine: ReplayEngine) -> tuple[list[tuple[float, Delta]], Load]:
        request = Request(tokens=await prompt(engine), max_tokens=200, chunk=chunk)
        await engine.abort(request)  # does not run yet
        await asyncio.sleep(0.1)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(deltas_of(engine, request))
            await asyncio.sleep(at)
            await engine.abort(request)
        await engine.abort(request)
        return reading.result(), await engine.load()

    found, load = with_engine(main, row(*samples([100])))
    assert sum(delta.count for _, delta in found) == tokens == load.generated
    assert sum(len(delta.token_ids) for _, delta in found) == tokens
    assert found[-1][0] == pytest.approx(0.1 + at)
    assert found[-1][1].finish_reason == "terminated"
    assert load.running == 0


def test_a_reader_that_comes_late_misses_nothing():
    async def main(engine: ReplayEngine) -> tuple[Completion, Load]:
        late = Completion()
        tokens = await prompt(engine)
        async with aclosing(engine.stream(Request(tokens=tokens, max_tokens=99, chunk=4))) as read:
            late.add(await anext(read))
            await asyncio.sleep(60)
            assert (await engine.load()).generated == 10
            async for delta in read:
                late.add(delta)
        return late, await engine.load()

    late, load = with_engine(main, row(*samples([10])))
    assert (late.tokens, late.finish_reason, load.generated) == (10, "stop", 10)


def test_a_reader_that_leaves_frees_its_request():
    async def main(engine: ReplayEngine) -> Load:
        request = Request(tokens=await prompt(engine), max_tokens=99, chunk=4)
        async with aclosing(engine.stream(request)) as read:
            await anext(read)
            await asyncio.sleep(0.25)
        await asyncio.sleep(5)
        return await engine.load()

    load = with_engine(main, row(*samples([50])))
    assert (load.running, load.generated) == (0, 6)


@pytest.mark.parametrize(
    ("sample", "asked_for", "expected"),
    [
        pytest.param(Sample("1", 20, logprob=-0.5), True, -10.0, id="recorded"),
        pytest.param(Sample("1", 20, logprob=-0.5), False, None, id="not-asked-for"),
        pytest.param(Sample("1", 20), True, None, id="not-recorded"),
    ],
)
def test_log_probabilities_are_those_that_were_recorded(
    sample: Sample, asked_for: bool, expected: float | None
):
    async def main(engine: ReplayEngine) -> Completion:
        request = Request(tokens=await prompt(engine), max_tokens=99, logprobs=asked_for)
        return await complete(engine, request)

    assert with_engine(main, row(sample)).logprob == expected


def test_a_prompt_is_computed_once_but_for_its_last_token():
    async def main(engine: ReplayEngine) -> None:
        tokens = await prompt(engine)
        requests = [Request(tokens=tokens, max_tokens=9) for _ in range(3)]
        cached = [(await complete(engine, request)).cached for request in requests]
        assert cached == [0, len(tokens) - 1, len(tokens) - 1]
        assert (await engine.load()).prompt_computed == len(tokens) + 2

    with_engine(main, row(*samples([5, 5, 5])))


# Tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "a", "four", "  two  spaces\n", "\0é→😀", PROBE])
def test_text_survives_encoding(text: str):
    async def main(engine: ReplayEngine) -> None:
        tokens = await engine.encode(text)
        assert min(tokens, default=1) > 0
        assert await engine.decode(tokens) == text
        assert await engine.decode([*tokens, *tokens]) == text * 2

    with_engine(main)


def test_a_chat_holds_its_messages_and_thinking_changes_its_end():
    async def main(engine: ReplayEngine) -> None:
        plain, thinking = await prompt(engine), await prompt(engine, thinking=True)
        assert await engine.decode(plain) == "user: text of q\nassistant: "
        assert await engine.decode(thinking) == "user: text of q\nassistant: <think>\n"
        assert isinstance(engine, Engine)
        assert engine.model == "m"

    with_engine(main, row())


# Which sample ----------------------------------------------------------------------------------

SYSTEM: Message = {"role": "system", "content": "user: text of b\n"}
USER: Message = {"role": "user", "content": " text of a\n"}
TURNS: list[Message] = [
    {"role": "user", "content": "text of b"},
    {"role": "assistant", "content": "2"},
]


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([USER], id="alone"),
        pytest.param([SYSTEM, USER], id="after-a-system-message"),
        pytest.param([*TURNS, USER], id="after-other-turns"),
    ],
)
def test_a_question_is_found_by_what_the_user_said_last(messages: list[Message]):
    async def main(engine: ReplayEngine) -> str:
        tokens = tuple(await engine.render(messages))
        return (await complete(engine, Request(tokens=tokens, max_tokens=99))).text

    recorded = [row(Sample("1", 1), name="a"), row(Sample("2", 1), name="b")]
    assert with_engine(main, *recorded) == "\\boxed{1}"


@pytest.mark.parametrize(
    ("recorded", "text"),
    [
        pytest.param(
            Recorded("q", (Sample("1", 1),), question="Two\nlines?"), "Two\nlines?", id="text"
        ),
        pytest.param(Recorded("aime-7", (Sample("1", 1),)), "aime-7", id="id-where-no-text-is"),
    ],
)
def test_a_prompt_without_a_chat_is_the_question_itself(recorded: Recorded, text: str):
    async def main(engine: ReplayEngine) -> str:
        tokens = tuple(await engine.encode(text))
        return (await complete(engine, Request(tokens=tokens, max_tokens=99))).text

    assert with_engine(main, recorded) == "\\boxed{1}"


def drawn(name: str, *others: str, order: Any, seed: int = 0) -> list[str]:
    """The answers of the branches of one question, others being asked beside it."""
    answers = [str(i) for i in range(12)]
    recorded = [row(*samples([9] * 12, answers), name=each) for each in (*others, name)]
    engine = ReplayEngine(recorded, order=order, seed=seed)
    _, events, _ = play(
        engine, "self_consistency", *others, name, policy="fixed", branches=12, budget={}
    )
    return [x["answer"] for x in events if x["event"] == "branch" and x["program"] == name]


def test_samples_come_in_the_recorded_order_or_shuffled_for_each_question_alone():
    recorded = [str(i) for i in range(12)]
    shuffled = drawn("q", order="random")
    assert drawn("q", "r", order="recorded") == recorded
    assert shuffled != recorded
    assert sorted(shuffled) == sorted(recorded)
    assert drawn("q", "r", "s", order="random") == shuffled
    assert drawn("r", order="random") != shuffled
    assert drawn("q", order="random", seed=1) != shuffled


# Self-consistency ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "window", "latency"),
    [
        pytest.param([100, 50, 70, 30], 8, 10.0, id="all-at-once"),
        pytest.param([100, 50, 70, 30], 2, 13.0, id="the-next-begins-when-one-ends"),
        pytest.param([100, 50, 70, 30], 1, 25.0, id="one-by-one"),
        pytest.param([36_000] * 4, 2, 7200.0, id="hours"),
    ],
)
def test_latency_is_that_of_the_window(tokens: list[int], window: int, latency: float):
    engine = ReplayEngine([row(*samples(tokens))], tokens_per_second=SPEED)
    budget = Budget(concurrency=window)
    result = only(play(engine, policy="fixed", branches=4, budget=budget))

    assert result.latency_s == pytest.approx(latency)
    assert (result.usage.main, result.usage.terminated) == (sum(tokens), 0)
    assert (result.answer, result.stop_reason) == ("1", StopReason.FINISHED)


def test_a_certain_program_pays_for_what_was_made_of_the_others():
    engine = ReplayEngine([row(*samples([10, 20, 1000, 15, 500]))], tokens_per_second=SPEED)
    result = only(
        play(engine, policy="beta:confidence=0.8", branches=5, budget=Budget(concurrency=3))
    )

    # At 1.0 s the fourth takes the place of the first; at 2.0 s two agree.
    assert (result.stop_reason, result.answer) == (StopReason.CERTAIN, "1")
    assert result.latency_s == pytest.approx(2.0)
    assert (result.usage.main, result.usage.terminated) == (10 + 20, 20 + 10)


def test_equal_branches_end_together_whatever_the_policy_says_of_the_first():
    engine = ReplayEngine([row(*samples([30, 30, 30, 30]))], tokens_per_second=SPEED)
    result = only(play(engine, policy="beta:confidence=0.8", branches=4))
    assert (result.usage.main, result.usage.terminated) == (120, 0)


def test_answers_that_only_mathematics_finds_equal_are_compared_in_no_virtual_time():
    answers = ["\\frac{1}{2}", "\\frac{2}{4}", "\\frac{3}{6}", "x"]
    engine = ReplayEngine([row(*samples([10, 20, 30, 40], answers))], tokens_per_second=SPEED)
    result = only(play(engine, policy="fixed", branches=4))
    assert result.answer == "\\frac{1}{2}"
    assert result.latency_s == pytest.approx(4.0)


def test_a_deadline_is_in_virtual_seconds():
    engine = ReplayEngine([row(*samples([10, 20, 90_000]))], tokens_per_second=SPEED)
    result = only(play(engine, policy="fixed", branches=3, budget=Budget(seconds=3600)))

    assert (result.stop_reason, result.answer) == (StopReason.DEADLINE, "1")
    assert result.latency_s == pytest.approx(3600)
    assert (result.usage.main, result.usage.terminated) == (30, 36_000)


def test_programs_run_beside_each_other():
    recorded = [row(*samples([100 * i] * 2), name=f"q{i}") for i in (1, 2, 3)]
    engine = ReplayEngine(recorded, tokens_per_second=SPEED)
    results, _, load = play(engine, "self_consistency", "q3", "q1", "q2", branches=2)
    assert [x.id for x in results] == ["q1", "q2", "q3"]
    assert [x.latency_s for x in results] == pytest.approx([10, 20, 30])
    assert load.generated == 1200


def test_recorded_seconds_can_be_taken_instead_of_a_speed():
    timed = [Sample("1", 100, seconds=2.0), Sample("1", 10, seconds=7.0)]
    result = only(play(ReplayEngine([row(*timed)], seconds=True), policy="fixed", branches=2))
    assert result.latency_s == pytest.approx(7.0)
    assert result.usage.main == 110


def test_votes_are_weighted_by_the_recorded_confidence():
    sure, unsure = Sample("5", 10, logprob=-0.1), Sample("6", 10, logprob=-3.0)
    engine = ReplayEngine([row(unsure, unsure, sure)])
    result = only(play(engine, policy="fixed", branches=3, vote="confidence"))
    assert result.answer == "5"


def test_two_runs_are_the_same():
    def events() -> list[JSON]:
        recorded = [row(*samples([10, 40, 20, 30] * 5), name=f"q{i}") for i in range(5)]
        engine = ReplayEngine(recorded, order="random")
        return play(engine, "self_consistency", *(f"q{i}" for i in range(5)), branches=9)[1]

    assert events() == events()


# Chain of thought ------------------------------------------------------------------------------


def chain(*probed: tuple[int, str | None], answer: str = "9", tokens: int = 640) -> Sample:
    return Sample(answer, tokens, probes=tuple(Probed(at, answer) for at, answer in probed))


SUFFIX = -(-len(PROBE) // 4)
"""Tokens of the text that forces an answer."""

SAID = 2
"""Tokens of a probe's response: `5}` and the end of text."""

LAST = 4
r"""Tokens of a forced answer: `\boxed{5}` and the end of text."""


@pytest.mark.parametrize(
    ("probed", "settings", "stops_at", "probes"),
    [
        pytest.param([(64, "5"), (128, "5"), (192, "5")], {}, 192, 3, id="three-that-agree"),
        pytest.param(
            [(64, "3"), (128, "5"), (192, "5"), (256, "5"), (320, "6")], {}, 256, 4, id="a-change"
        ),
        pytest.param(
            [(57, "3"), (121, "5"), (185, "5"), (249, "5")], {}, 256, 4, id="cut-at-blocks"
        ),
        pytest.param([(200, "5")], {}, 384, 3, id="what-comes-before-the-first-costs-nothing"),
        pytest.param(
            [(100, "4"), (200, "5")], {"interval": 100, "warm_up": 150}, 400, 3, id="warm-up"
        ),
    ],
)
def test_a_chain_stops_where_its_recorded_probes_agree(
    probed: list[tuple[int, str]], settings: JSON, stops_at: int, probes: int
):
    recorded = row(chain(*probed), chain(answer="no other sample is taken"))
    result = only(play(ReplayEngine([recorded], tokens_per_second=64), "cot", **settings))

    thought = stops_at + SAID  # it goes on for as long as the last probe is answered
    assert (result.answer, result.stop_reason) == ("5", StopReason.CERTAIN)
    assert (result.usage.main, result.usage.terminated) == (thought + LAST, 0)
    assert result.usage.probe == probes * SAID
    assert result.usage.probe_prefill == probes * SUFFIX
    assert result.usage.net == thought + LAST + probes * (SAID + SUFFIX)
    assert result.latency_s == pytest.approx((thought + LAST) / 64)


def test_a_chain_goes_on_with_its_own_sample_in_the_next_round():
    probed = [(64, "3"), (128, "5"), (192, "5"), (256, "5")]
    recorded = row(chain(*probed), chain(answer="no other sample is taken"))
    result = only(play(ReplayEngine([recorded]), "cot", round_tokens=128))
    assert (result.answer, result.rounds) == ("5", 2)
    # The round ends with the thought that the last probe is about.
    assert (result.usage.main, result.usage.probe) == (256 + LAST, 4 * SAID)


EACH = [(at, str(at)) for at in range(64, 640, 64)]


@pytest.mark.parametrize(
    ("probed", "settings"),
    [
        pytest.param(EACH, {}, id="they-disagree"),
        pytest.param(EACH, {"round_tokens": 100}, id="they-disagree-in-many-rounds"),
        pytest.param([], {}, id="none-recorded"),
        pytest.param([(64, None)], {}, id="none-with-an-answer"),
        pytest.param([(64, "5")], {"policy": "fixed"}, id="nobody-asks"),
        pytest.param([(640, "5"), (900, "5")], {}, id="only-after-the-end"),
        pytest.param([(64, "5"), (128, "5")], {"interval": 300}, id="too-few-are-asked"),
    ],
)
def test_a_chain_that_nothing_settles_says_what_was_recorded(
    probed: list[tuple[int, str | None]], settings: JSON
):
    result = only(play(ReplayEngine([row(chain(*probed))]), "cot", **settings))
    assert (result.answer, result.stop_reason) == ("9", StopReason.FINISHED)
    assert result.usage.main == 640


def test_a_chain_at_its_limit_says_what_its_newest_probe_said():
    sampling = {"max_tokens": 200}
    result = only(play(ReplayEngine([row(chain(*EACH))]), "cot", sampling=sampling))
    assert (result.answer, result.stop_reason) == ("192", StopReason.FINISHED)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        pytest.param(PROBE, "x^{2}}", id="an-open-brace-is-closed"),
        pytest.param("The answer: \\boxed{ ", "x^{2}}", id="whatever-the-probe"),
        pytest.param("\n</think>\n", "\\boxed{x^{2}}", id="the-end-of-a-thought"),
    ],
)
@pytest.mark.parametrize(
    ("thought", "probed"),
    [
        pytest.param(1, False, id="at-the-first-token"),
        pytest.param(99, False, id="before-the-probe"),
        pytest.param(100, True, id="at-the-probe"),
        pytest.param(500, True, id="all-of-it"),
    ],
)
def test_what_follows_a_thought_is_answered_by_its_newest_probe(
    thought: int, probed: bool, after: str, said: str
):
    async def main(engine: ReplayEngine) -> tuple[Completion, float]:
        tokens = await prompt(engine)
        head = await complete(engine, Request(tokens=tokens, max_tokens=thought))
        so_far = (*tokens, *head.token_ids, *(await engine.encode(after)))
        began = asyncio.get_running_loop().time()
        whole = await complete(engine, Request(tokens=so_far, max_tokens=99))
        assert whole.cached == len(tokens) + len(head.token_ids)
        return whole, asyncio.get_running_loop().time() - began

    whole, seconds = with_engine(main, row(chain((200, "new"), (100, "x^{2}"), tokens=150)))
    assert (whole.text, whole.finish_reason) == (said if probed else "", "stop")
    assert seconds == pytest.approx(whole.tokens / SPEED)
    assert (whole.tokens > 0) == probed


# Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "options", "error", "message"),
    [
        pytest.param([row(Sample("1", None))], {}, InputError, "question 'q'", id="no-tokens"),
        pytest.param([row(Sample("1", 0))], {}, InputError, "question 'q'", id="zero-tokens"),
        pytest.param(
            [row(Sample("1", 9))], {"seconds": True}, InputError, "question 'q'", id="no-seconds"
        ),
        pytest.param([row(), row()], {}, InputError, "'q' and 'q'", id="the-same-question-twice"),
        pytest.param([], {"tokens_per_second": 0}, ConfigError, "positive, got 0", id="speed"),
        pytest.param(
            [], {"tokens_per_second": float("inf")}, ConfigError, "got inf", id="endless-speed"
        ),
    ],
)
def test_what_cannot_be_replayed_is_refused_at_once(
    recorded: list[Recorded], options: Any, error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        ReplayEngine(recorded, **options)


def test_a_question_whose_samples_are_used_up_fails_alone():
    engine = ReplayEngine([row(*samples([9] * 3)), row(*samples([9] * 4), name="r")])
    results, _, _ = play(engine, "self_consistency", "q", "r", policy="fixed", branches=4)
    failed, found = sorted(results, key=lambda result: result.id)
    assert failed.error is not None
    assert "question 'q' has 3 recorded samples" in failed.error
    assert "`branches`" in failed.error
    assert (found.error, found.answer) == (None, "1")


def test_a_question_that_was_not_recorded_is_named():
    engine = ReplayEngine([row(Sample("1", 9))])
    (result,), _, _ = play(engine, "self_consistency", "other")
    assert result.error is not None
    assert "'text of other'" in result.error
    assert "ids" in result.error


@pytest.mark.parametrize(
    ("tokens", "most", "error", "message"),
    [
        pytest.param((1 << 41,), 1, EngineError, "none of the recorded", id="another-engine's"),
        pytest.param((256,) * 10, 999_999, PromptTooLong, "10 tokens", id="too-long"),
    ],
)
def test_a_request_that_is_none_of_this_engine_is_refused(
    tokens: tuple[int, ...], most: int, error: type[Exception], message: str
):
    async def main(engine: ReplayEngine) -> None:
        with pytest.raises(error, match=message):
            await complete(engine, Request(tokens=tokens, max_tokens=most))
        assert await engine.load() == Load()

    with_engine(main, row(Sample("1", 9)))
