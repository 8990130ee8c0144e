"""Embedding: how answers join classes, and the thread that embeds what waits in batches."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynasor_graph.answers import Embedding, Grouping
from dynasor_graph.answers.embedding import Embedded, Encoder, encoder_of
from dynasor_graph.errors import ConfigError

pytestmark = pytest.mark.anyio


class Plane(Embedding):
    """Answers are degrees: their vectors lie in a plane, so that similarity is known."""

    async def form(self, answer: str) -> Embedded | None:
        angle = np.radians(float(answer))
        return Embedded(answer, np.array([np.cos(angle), np.sin(angle)], np.float32))


async def partition(kind: Embedding, *degrees: int) -> list[int | None]:
    return await Grouping(kind).add_all(map(str, degrees))


NEAR = float(np.cos(np.radians(30)))


async def test_an_answer_goes_to_the_class_that_it_is_most_similar_to_and_joins_none():
    kind = Plane(threshold=NEAR)
    assert await partition(kind, 0, 50, 30) == [0, 1, 1]
    assert await partition(kind, 0, 50, 20) == [0, 1, 0]
    assert await partition(kind, 0, 90, 45) == [0, 1, 2]


async def test_a_class_is_reached_on_average_or_in_all_of_its_answers():
    assert await partition(Plane(threshold=NEAR, link="average"), 0, 20, 35) == [0, 0, 0]
    assert await partition(Plane(threshold=NEAR, link="complete"), 0, 20, 35) == [0, 0, 1]


async def test_the_order_of_arrival_may_tell():
    kind = Plane(threshold=NEAR, link="complete")
    assert await partition(kind, 0, 25, 50) == [0, 0, 1]
    assert await partition(kind, 25, 50, 0) == [0, 0, 1]


async def test_similarities_near_the_threshold_make_a_grouping_fragile():
    grouping = Grouping(Plane(threshold=NEAR, fragile=0.02))
    await grouping.add_all(["0", "31", "61"])
    assert (grouping.compared, grouping.close, grouping.fragile) == (3, 2, False)
    await grouping.add("-29")
    assert grouping.fragile
    sure = Grouping(Plane(threshold=NEAR, fragile=0.02))
    await sure.add_all(["0", "90", "180", "270", "5"])
    assert sure.close == 0


# The thread ------------------------------------------------------------------------------------


class Slow(Encoder):
    """Embeds by the length of a text, in batches that it remembers; waits to be let go on."""

    def __init__(self, most: int = 100) -> None:
        super().__init__(Path("none"), most=most)
        self.batches: list[list[str]] = []
        self.go = threading.Event()
        self.begun = threading.Event()

    def _encode(self, texts: list[str]) -> Any:
        self.begun.set()
        self.go.wait(30)
        self.batches.append(texts)
        return np.array([[len(text), 0] for text in texts], np.float32)


async def test_what_waits_while_it_works_is_the_next_batch():
    encoder = Slow()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(encoder.vector("first"))
        await asyncio.to_thread(encoder.begun.wait)
        rest = [group.create_task(encoder.vector(f"text {i % 5}")) for i in range(20)]
        await asyncio.sleep(0)
        encoder.go.set()
    assert encoder.batches == [["first"], [f"text {i}" for i in range(5)]]
    assert first.result()[0] == 5
    assert all(task.result()[0] == 6 for task in rest)
    await encoder.vector("first")
    assert len(encoder.batches) == 2  # known


async def test_one_that_is_not_waited_for_any_more_is_left_out():
    encoder = Slow()
    first = asyncio.ensure_future(encoder.vector("first"))
    await asyncio.to_thread(encoder.begun.wait)
    gone, stays = (asyncio.ensure_future(encoder.vector(text)) for text in ("gone", "stays"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    encoder.go.set()
    await stays
    await first
    assert encoder.batches == [["first"], ["stays"]]


async def test_only_the_newest_vectors_are_kept():
    encoder = Slow(most=2)
    encoder.go.set()
    for text in ["a", "b", "c", "c", "a"]:
        await encoder.vector(text)
    assert encoder.batches == [["a"], ["b"], ["c"], ["a"]]


def test_an_encoder_serves_several_event_loops():
    encoder = Slow()
    encoder.go.set()
    assert [asyncio.run(encoder.vector(text))[0] for text in ("a", "bb")] == [1, 2]


async def test_a_folder_that_holds_no_model_fails_for_all_who_wait(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    encoder = encoder_of(str(tmp_path))
    found = [asyncio.ensure_future(encoder.vector(text)) for text in ("a", "b")]
    await asyncio.wait(found)
    for task in found:
        with pytest.raises(ConfigError, match="embedding model"):
            task.result()


async def test_the_bundled_model_knows_what_means_the_same_and_its_batches_do_not_matter():
    encoder = encoder_of("all-minilm-l6-v2")
    texts = ["a cat sits on the mat", "there is a cat on the mat", "interest rates went up"]
    cat, other, rates = [await encoder.vector(text) for text in texts]
    assert cat @ other > 0.8 > 0.4 > cat @ rates
    assert np.linalg.norm(cat) == pytest.approx(1, abs=1e-5)
    fresh = Encoder(encoder._path)
    async with asyncio.TaskGroup() as group:
        together = [group.create_task(fresh.vector(text)) for text in texts]
    assert np.allclose([cat, other, rates], [task.result() for task in together], atol=1e-5)
