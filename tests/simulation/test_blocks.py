"""Blocks: what is in use stays, what is kept goes when the room is needed, the oldest first."""

from __future__ import annotations

import pytest

from dynasor_graph.simulation.blocks import Blocks


def used(total: int, *keys: int) -> Blocks:
    blocks = Blocks(total)
    for key in keys:
        assert blocks.add(key)
    return blocks


def test_keys_are_found_up_to_the_first_that_is_missing():
    blocks = used(8, 1, 2, 4)
    assert blocks.found([1, 2, 3, 4]) == 2
    assert blocks.found([]) == 0


def test_a_content_is_kept_once():
    blocks = used(8, 1)
    assert not blocks.add(1)
    blocks.release([1])
    assert not blocks.add(1)


def test_uses_beyond_the_first_are_shared():
    blocks = used(8, 1, 2)
    blocks.take([1, 2])
    blocks.take([1])
    assert (blocks.shared, blocks.idle([1, 2])) == (3, 0)
    blocks.release([1, 2])
    assert (blocks.shared, blocks.idle([1, 2])) == (1, 0)
    blocks.release([1, 2])
    assert (blocks.shared, blocks.idle([1, 2])) == (0, 1)


@pytest.mark.parametrize(
    ("room", "left"),
    [
        pytest.param(4, [1, 2, 3, 4], id="enough"),
        pytest.param(5, [1, 3, 4], id="the-last-block-of-the-oldest"),
        pytest.param(6, [3, 4], id="all-of-the-oldest"),
        pytest.param(8, [], id="everything"),
    ],
)
def test_room_is_made_by_the_least_recently_used(room: int, left: list[int]):
    blocks = used(8, 1, 2, 3, 4)
    blocks.release([1, 2])
    blocks.release([3, 4])
    blocks.make_room(room)
    assert [key for key in (1, 2, 3, 4) if blocks.found([key])] == left


def test_what_is_in_use_is_never_dropped():
    blocks = used(2, 1)
    with pytest.raises(ValueError, match="3 blocks are in use, and there are 2"):
        blocks.make_room(3)
    assert blocks.found([1]) == 1
