"""Heap: items by key, moved and taken out."""

from __future__ import annotations

from hypothesis import given, strategies as st

from dynasor_graph.scheduler.heap import Heap

steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "discard", "first"]), st.integers(0, 9), st.integers(0, 3)
    ),
    max_size=300,
)


@given(steps)
def test_a_heap_is_a_list_that_is_sorted_each_time(plan: list[tuple[str, int, int]]):
    heap: Heap[int] = Heap()
    model: dict[int, tuple[int, int]] = {}
    for number, (what, item, key) in enumerate(plan):
        if what == "put":
            heap.put(item, (key,))
            model[item] = (key, number)
        elif what == "discard":
            heap.discard(item)
            model.pop(item, None)
        least = min(model, key=lambda item: model[item], default=None)
        found = heap.first()
        assert (None if found is None else found[1]) == least
        assert len(heap) == len(model)
        assert (item in heap) == (item in model)


def test_moving_one_item_for_ever_takes_no_more_room():
    heap: Heap[str] = Heap()
    for i in range(10_000):
        heap.put("a", (i,))
    assert heap.first() == ((9999,), "a")
    assert len(heap._entries) < 100
