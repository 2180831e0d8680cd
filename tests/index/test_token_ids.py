"""Token ids in as few bytes as their passage allows."""

import numpy as np
import pytest

from ernie_search.errors import IndexStateError
from ernie_search.index.token_ids import pack_ids, unpack_ids


@pytest.mark.parametrize(
    ("largest", "width"), [(0, 2), (65_535, 2), (65_536, 3), (2**24 - 1, 3), (2**24, 4), (2**31 - 1, 4)]
)
def test_they_come_back_from_the_fewest_bytes(largest, width):
    ids = np.array([1, largest, 300, 0], np.int32)
    raw = pack_ids(ids)
    assert len(raw) == 4 * width
    found = unpack_ids(raw, 4)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, ids)


def test_no_tokens_take_no_bytes():
    assert pack_ids(np.zeros(0, np.int32)) == b""
    assert unpack_ids(b"", 0).shape == (0,)


def test_four_bytes_an_id_are_read_as_older_versions_wrote_them():
    ids = np.array([5, 70_000, 3], np.int32)
    np.testing.assert_array_equal(unpack_ids(ids.tobytes(), 3), ids)


@pytest.mark.parametrize(("raw", "count"), [(b"abc", 2), (b"abcd", 0), (b"abc", 3), (b"", 1), (b"a" * 15, 3)])
def test_other_lengths_are_refused(raw, count):
    with pytest.raises(IndexStateError, match="no ids of"):
        unpack_ids(raw, count)
