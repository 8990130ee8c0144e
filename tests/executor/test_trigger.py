"""Triggers: probes stand right before the words, whatever the tokens and the deltas."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.engine import FakeEngine
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.executor.trigger import Trigger
from tests.executor.stage import Thinker, probes_of, run, thought_in

pytestmark = pytest.mark.anyio

NEVER = {"policy": "probe-consistency:window=99"}


def decoder(words: Sequence[str], lead: str = ""):
    """Tokens are numbers of words; a leading space of the first one is left out, as decoders do."""

    async def decode(token_ids: Sequence[int]) -> str:
        return "".join(words[i] for i in token_ids).removeprefix(lead)

    return decode


async def test_the_tokens_before_a_word_that_is_inside_one() -> None:
    words = [" I", " think", ".\\n\\nWait", ",", " no"]
    trigger = Trigger(["Wait"], decoder(words, lead=" "))
    assert await trigger.find([0, 1], " I think") is None
    assert await trigger.find([0, 1, 2, 3], " I think.\\n\\nWait,") == 2
    assert await trigger.find([0, 1, 2, 3, 4], " I think.\\n\\nWait, no") is None


async def test_a_word_that_comes_in_two_parts_is_found_once() -> None:
    trigger = Trigger(["Wait", "Hmm"], decoder(["a", "Wa", "it", "Hmm"]))
    assert await trigger.find([0, 1], "aWa") is None
    assert await trigger.find([0, 1, 2], "aWait") == 1
    assert await trigger.find([0, 1, 2, 3], "aWaitHmm") == 3


async def test_what_was_searched_before_a_round_is_not_found_again() -> None:
    trigger = Trigger(["Wait"], decoder(["Wait", "b"]), searched="Wait")
    assert await trigger.find([0, 1], "Waitb") is None


@given(
    st.lists(st.sampled_from(["Wait", "W", "ait", "it.", " x"]), min_size=1, max_size=20), st.data()
)
def test_every_word_is_found_where_it_stands(words: list[str], data: st.DataObject) -> None:
    text = "".join(words)
    trigger = Trigger(["Wait"], decoder(words))
    searched = 0

    async def grow() -> None:
        nonlocal searched
        at = 0
        while at < len(words):
            at += data.draw(st.integers(1, len(words) - at))
            ids, so_far = list(range(at)), "".join(words[:at])
            found = await trigger.find(ids, so_far)
            expected = so_far.find("Wait", max(0, searched - 3))
            searched = len(so_far)
            if expected < 0:
                assert found is None
            else:
                assert found is not None
                assert len("".join(words[:found])) <= expected
                assert len("".join(words[: found + 1])) > expected

    run_virtual(grow())
    assert searched == len(text)


@pytest.mark.parametrize("block", [1, 16])
async def test_a_chain_is_probed_right_before_its_words(block: int) -> None:
    chain = "x" * 50 + "Wait" + "y" * 100 + "Hmm" + "z" * 60 + "Wait" + "!" * 300
    engine = FakeEngine(Thinker(chain), block=block)
    state, _ = await run("cot", engine, triggers=["Wait", "Hmm"], **NEVER)
    assert [len(thought_in(request)) for request in probes_of(engine)] == [50, 154, 217]
    assert [row["at"] for row in state["probes"]] == [50, 154, 217]


async def test_deer_stops_at_the_first_word_at_which_it_is_sure() -> None:
    chain = "x" * 50 + "Wait" + "y" * 200
    engine = FakeEngine(Thinker(chain, probed=lambda at: "7}"))
    state, _ = await run("cot", engine, triggers=["Wait"], policy="deer:confidence=0.8")
    assert state["stop_reason"] == "certain"
    assert len(state["thought"]) < 150
    assert [row["at"] for row in state["probes"]] == [50]


async def test_no_word_no_probe() -> None:
    engine = FakeEngine(Thinker("x" * 300))
    await run("cot", engine, triggers=["Wait"], **NEVER)
    assert probes_of(engine) == []
