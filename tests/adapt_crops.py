"""A collection of crops and places, of as many passages as a test needs."""

from ernie_search.data import MemoryCollection
from ernie_search.types import Passage

CROPS = (
    "tea",
    "rice",
    "wheat",
    "maize",
    "cotton",
    "barley",
    "coffee",
    "cocoa",
    "hemp",
    "flax",
    "rye",
    "oats",
)
PLACES = ("Assam", "Bengal", "Kansas", "Iowa", "Egypt", "Bavaria", "Brazil", "Ghana", "Picardy", "Ulster")


def crops(number: int) -> MemoryCollection:
    """Passages of two sentences each, all of which differ."""
    made = []
    for one in range(number):
        crop, place = CROPS[one % len(CROPS)], PLACES[one // len(CROPS) % len(PLACES)]
        text = (
            f"Farmers of {place} have grown {crop} on terraces since the year {1500 + one} without a plough. "
            f"The harvest number {one} of {crop} was carried to the {place} market by boat and sold there."
        )
        made.append(Passage(f"p{one}", text, f"{crop.title()} of {place}, part {one}"))
    return MemoryCollection("crops", "memory", made, [], {})
