"""The arithmetic of ``scale``, by hand."""

from dataclasses import asdict, replace

import pytest

from ernie_search.errors import SettingsError
from ernie_search.recipes.scale import Rates, Scale, needs, rates_from

RATES = Rates(
    passages_a_second=100.0,
    pairs_a_second=50.0,
    seconds_a_step=2.0,
    questions_per_batch=32,
    products_a_second=1e6,
    stored_a_second=1000.0,
    packed_bytes_a_second=1e8,
    dim=100,
    token_dim=10,
    tokens_a_passage=5.0,
    text_bytes=480.0,
    index_a_second=500.0,
    index_passages=10_000,
)
TASK = Scale(
    passages=1_000_000,
    questions=3_600,
    steps=1_800,
    list_length=10,
    shard_size=10_000,
    tokens="fp16",
    price_hour=2.0,
    price_gb_month=0.5,
)
PACKED = 400 + 5 * 24 + 480
"""Bytes of a passage in a shard: 100 numbers of 4 bytes, 5 tokens of 10 x 2 + 4, the text."""


def by_name(**changes):
    return {one.name: one for one in needs(RATES, replace(TASK, **changes))}


def test_hours():
    found = by_name()
    assert found["train"].hours == 1800 * 2 / 3600
    assert found["mine"].hours == pytest.approx((10_000 + 3_600) / 3600)  # encoding, then 3.6e9 products
    assert found["score"].hours == pytest.approx(720 / 3600)
    writing, manifests = 1e6 * PACKED / 1e8, 220 * 100 * 101 / 2 / 1e8
    assert found["encode"].hours == pytest.approx((10_000 + writing + manifests) / 3600)
    assert found["encode"].serial_hours == pytest.approx((writing + manifests) / 3600)
    assert found["store"].hours == pytest.approx(1000 / 3600)
    assert found["index"].hours == pytest.approx(
        2000 * 10 / 3600
    )  # a hundred times as many: ten times slower


def test_bytes_and_money():
    found = by_name()
    assert found["encode"].disk == 1e6 * PACKED
    assert found["encode"].memory == 110e6 + 3 * 10_000 * PACKED * 3
    assert found["store"].disk == pytest.approx(1e6 * (400 + 5 * 24 + 960))
    assert by_name(tokens="none")["store"].disk == pytest.approx(1e6 * (400 + 5 * 4 + 960))
    assert by_name(tokens="2bit")["store"].disk == pytest.approx(1e6 * (400 + 5 * (2.5 + 2 + 4) + 960))
    assert found["mine"].memory == 110e6 + 2 * 65_536 * 400  # no vectors but a chunk's
    assert found["index"].memory == pytest.approx(1e6 * (12.5 + 16))
    assert found["score"].memory == pytest.approx(36_000 * (480 + 110))
    assert found["train"].money == pytest.approx(2.0)
    assert found["encode"].money == pytest.approx(found["encode"].hours * 2 + 0.5)


@pytest.mark.parametrize(
    ("stage", "factor"),
    [("train", 1.0), ("score", 1.0), ("store", 10.0), ("mine", 10.0), ("index", 10**1.5)],
)
def test_how_each_stage_grows_with_the_passages(stage, factor):
    ratio = by_name(passages=10_000_000)[stage].hours / by_name()[stage].hours
    assert ratio == pytest.approx(factor)


def test_machines_share_what_can_be_shared():
    one = by_name()
    assert one["score"].wall_hours(8) == one["score"].hours / 8
    assert one["store"].wall_hours(8) == one["store"].hours
    writing = one["encode"].serial_hours
    assert one["encode"].wall_hours(8) == pytest.approx(writing + 10_000 / 8 / 3600)
    assert one["mine"].wall_hours(8) == pytest.approx((3_600 + 10_000 / 8) / 3600)  # one machine searches
    assert by_name(machines=8)["encode"].hours == one["encode"].hours  # machine hours stay


def test_small_shards_cost_manifests():
    few, many = by_name(shard_size=10_000)["encode"], by_name(shard_size=100)["encode"]
    assert many.serial_hours > few.serial_hours
    assert many.hours - few.hours == pytest.approx(220 * (10_000 * 10_001 - 100 * 101) / 2 / 1e8 / 3600)


def test_an_index_that_was_not_measured_has_no_hours():
    stages = needs(replace(RATES, index_a_second=0.0), TASK)
    assert {one.name: one for one in stages}["index"].hours == 0


def test_rates_of_a_file():
    assert rates_from(asdict(RATES), "r.json") == RATES
    without = {name: value for name, value in asdict(RATES).items() if name != "dim"}
    for values, message in [
        (without, r"r\.json: 'dim' missing or unknown"),
        (asdict(RATES) | {"speed": 1}, "'speed' missing or unknown"),
        (asdict(RATES) | {"pairs_a_second": 0}, "pairs_a_second=0: must be a number above 0"),
        (asdict(RATES) | {"dim": "many"}, "dim='many'"),
    ]:
        with pytest.raises(SettingsError, match=message):
            rates_from(values, "r.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passages": 0}, "passages=0"),
        ({"machines": 0}, "machines=0"),
        ({"tokens": "int9"}, "'int9'.*'int8'"),
    ],
)
def test_impossible_tasks(change, message):
    with pytest.raises(SettingsError, match=message):
        needs(RATES, replace(TASK, **change))
