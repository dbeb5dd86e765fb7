"""The step screenshot: pictures that are kept, awaited and compared."""

import os

from ansible.module_utils.lane.protocols.ryll import pictures
from control_peer import Ryll, png, rgba
from control_play import FLAT, PRESS, SHOT, STEEP, H, fail, play, ryll, seen, shots, steep


def test_a_wrong_picture_is_kept_as_evidence(tmp_path):
    file = tmp_path / "s.png"
    failed = fail(shots((8, 4, FLAT)), H, {"screenshot": {"not_one_colour": True, "file": str(file)}})
    assert file.read_bytes() == FLAT
    assert failed.fix == f"look at {file}"


def test_a_picture_may_settle():
    handler = shots((8, 4, FLAT), (8, 4, FLAT), (8, 4, STEEP))
    result = play(handler, H, {"screenshot": {"not_one_colour": True, "settle": 5}})
    assert seen(result)["one_colour"] is None
    assert result["transcript"][1]["seconds"] >= 0.1
    failed = fail(shots((8, 4, FLAT)), H, {"screenshot": {"not_one_colour": True, "settle": 0.3}})
    assert failed.result["transcript"][1]["seconds"] >= 0.2


def test_a_surface_that_changes_meanwhile_is_taken_again():
    handler = shots((8, 4, STEEP), (16, 4, png(16, 4, steep)), surfaces=[(8, 4), (16, 4)])
    assert seen(play(handler, H, SHOT))["width"] == 16


def test_pictures_are_compared_by_their_pixels():
    made = Ryll()
    made.pixels = lambda x, y: (x, y, 9 if made.keys and x == 5 else 0)
    left, mask = {"x": 0, "y": 0, "width": 5, "height": 4}, {"x": 5, "y": 0, "width": 1, "height": 4}
    result = play(
        made,
        H,
        SHOT,
        {"screenshot": {"format": "rgba", "same_as": "a"}},
        PRESS,
        {"screenshot": {"differs_from": "a", "not_one_colour": True}},
        {"screenshot": {"same_as": "a", "region": left}},
        {"screenshot": {"same_as": "a", "masks": [mask]}},
        {"screenshot": {"same_as": "a", "masks": [mask], "region": {"x": 2, "y": 1, "width": 6, "height": 2}}},
        {"screenshot": {"differs_from": "a", "masks": [left]}},
        {"resize": {"width": 16, "height": 8}},
        {"screenshot": {"differs_from": "a"}},
    )
    assert result["changed"] is True
    assert result["registered"]["a"] == seen(result, 1)
    assert seen(result, 2)["format"] == "rgba"


def test_a_picture_is_compared_with_a_file(tmp_path):
    file, difference = tmp_path / "reference.png", tmp_path / "difference.png"
    file.write_bytes(png(8, 4, lambda x, y: (x, y, 9 if x == 3 and y == 1 else 0)))
    made = ryll(pixels=steep)
    equals = {"equals": str(file), "difference": str(difference)}
    failed = fail(made, H, {"screenshot": equals})
    assert "is not equal to" in failed.problem and "1 of 32 pixels differ" in failed.problem
    assert pictures.read_file(str(difference)).getbbox() == (3, 1, 4, 2)
    mask = {"x": 3, "y": 1, "width": 1, "height": 1}
    assert seen(play(made, H, {"screenshot": equals | {"masks": [mask]}}))["equals"] == str(file)
    assert not difference.exists()
    play(made, H, {"screenshot": equals | {"lossy": True}})
    assert fail(made, H, {"screenshot": {"equals": str(tmp_path / "none.png")}}).code == "ryll_input"


def test_a_picture_may_be_awaited_until_it_stands_still():
    moving = [png(8, 4, lambda x, y, n=n: (n, x, y)) for n in range(4)]
    handler = shots(*((8, 4, data) for data in moving))
    result = play(handler, H, {"screenshot": {"until_still": 0.2}, "register": "last"})
    assert result["transcript"][1]["seconds"] >= 0.3
    made = Ryll()
    made.pixels = lambda x, y: (len(made.asked) & 255, x, y)
    failed = fail(made, H, {"screenshot": {"until_still": 0.3}, "within": 0.6})
    assert "never stood still for 0.3 s within 0.6 s" in failed.problem
    play(made, H, {"screenshot": {"until_still": 0.1, "masks": [{"x": 0, "y": 0, "width": 8, "height": 4}]}})


def test_rgba_pictures_are_written_unchanged(tmp_path):
    made = Ryll()
    play(made, H, {"screenshot": {"format": "rgba", "file": str(tmp_path / "s.rgba")}})
    assert (tmp_path / "s.rgba").read_bytes() == rgba(8, 4, made.pixels)
    assert os.listdir(tmp_path) == ["s.rgba"]
