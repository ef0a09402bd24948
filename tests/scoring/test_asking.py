"""A search whose pictures are drawn by the process that started it, and its pace."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.scoring.asking import AskingDrawer, StopSearchError
from lib_rimo.scoring.pace import Pace


class Asked(io.StringIO):
    """The starter's side: draws what was asked for last, a red picture, and answers."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__()
        self._capsys, self.asked = capsys, list[dict[str, object]]()

    def readline(self, size: int | None = -1, /) -> str:
        self.asked.append(json.loads(self._capsys.readouterr().out))
        Image.new("RGB", (4, 4), "red").save(Path(str(self.asked[-1]["file"])))
        return "{}\n"


def test_asks_for_each_picture(capsys: pytest.CaptureFixture[str]):
    answers = Asked(capsys)
    pictures = AskingDrawer("webui", answers).draw("1girl <lora:rimo:1>", [3, 4])
    assert [picture.getpixel((0, 0)) for picture in pictures] == [(255, 0, 0)] * 2
    assert [(asked["kind"], asked["seed"]) for asked in answers.asked] == [("draw", 3), ("draw", 4)]
    assert answers.asked[0]["prompt"] == "1girl <lora:rimo:1>"


@pytest.mark.parametrize("line", ["", '{"stop": true}\n'])
def test_stops_when_told_and_when_nobody_is_there(line: str):
    with pytest.raises(StopSearchError):
        AskingDrawer("webui", io.StringIO(line)).draw("1girl", [1])


def test_says_why_nothing_was_drawn():
    with pytest.raises(UserError, match="out of memory"):
        AskingDrawer("webui", io.StringIO('{"error": "out of memory"}\n')).draw("1girl", [1])


def test_time_left_goes_by_what_was_drawn():
    now, told = [0.0], list[tuple[int, int, float | None]]()
    pace = Pace(lambda *values: told.append(values), lambda: now[0])
    pace.total = 10
    for seconds, is_new in ((0.1, False), (3.0, True), (0.1, False), (5.0, True)):
        now[0] += seconds
        pace.look(is_new)
    assert told[0] == (1, 10, None)
    assert told[-1] == (4, 10, pytest.approx(6 * 4.0))
    now[0] += 1000  # the user thinks
    pace.wait()
    now[0] += 4
    pace.look(True)
    assert told[-1][2] == pytest.approx(5 * 4.0)
