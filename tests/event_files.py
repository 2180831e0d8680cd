"""What TensorBoard would show of a run, read from its event files."""

from pathlib import Path


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Value by step of every tag in ``folder/tensorboard``; what a resumed run took back is left out."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    found = {}
    for tag in set(events.Tags()["scalars"]) - {"train/epoch"}:  # which every kind of event brings along
        points = events.Scalars(tag)
        assert len({one.step for one in points}) == len(points), f"{tag}: a step twice"
        found[tag] = {one.step: one.value for one in points}
    return found
