"""Events on their way from a training to its watchers."""

import pytest

from lib_rimo.training.events import events_after, read_events, to_file
from lib_rimo.training.jobs.progress import Progress


@pytest.mark.parametrize("cut", [1, 9, 20])
def test_a_line_that_was_cut_short_costs_itself_only(tmp_path, cut):
    path = tmp_path / "events.jsonl"
    write = to_file(path)
    write({"kind": "phase", "time": 1.0, "phase": "training"})
    whole = path.stat().st_size
    write({"kind": "warning", "time": 2.0, "text": "on a full disk"})
    content = path.read_bytes()[: whole + cut]
    path.write_bytes(content)
    before, position = events_after(path, 0)
    assert ([event["kind"] for event in before], position) == (["phase"], whole)

    write({"kind": "failed", "time": 3.0, "text": "The disk is full: make room."})
    after, position = events_after(path, position)
    assert [event["kind"] for event in after] == ["failed"]
    assert position == path.stat().st_size
    assert [event["kind"] for event in read_events(path)] == ["phase", "failed"]
    assert Progress.of(path).end["text"] == "The disk is full: make room."
