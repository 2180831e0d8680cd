"""The compact set does what a set does."""

import random

from ernie_search.data.id_set import FIRST, IdSet


def test_like_a_set():
    drawn, mine, oracle = random.Random(1), IdSet(), set()
    for _ in range(20 * FIRST):
        item = str(drawn.randrange(9 * FIRST))
        assert mine.add(item) == (item not in oracle)
        oracle.add(item)
    assert len(mine) == len(oracle)
    for number in range(10 * FIRST):
        assert (str(number) in mine) == (str(number) in oracle)


def test_common():
    assert IdSet(map(str, range(3000))).common(IdSet(map(str, range(2000, 9000)))) == 1000
    assert IdSet().common(IdSet(["a"])) == 0


def test_memory_is_bounded():
    mine = IdSet(map(str, range(100_000)))
    assert mine._slots.itemsize * len(mine._slots) <= 24 * len(mine)
