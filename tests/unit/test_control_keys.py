"""Names of keys and characters as set 1 scancodes."""

import pytest
from ansible.module_utils.lane.protocols.ryll.errors import BadSteps
from ansible.module_utils.lane.protocols.ryll.keys import SCANCODES, chord, scancode, strokes

# Taken by hand from the translation table that keys.py names, not from keys.py.
KNOWN = {
    "esc": 0x01, "1": 0x02, "0": 0x0B, "minus": 0x0C, "equal": 0x0D, "backspace": 0x0E, "tab": 0x0F, "q": 0x10,
    "p": 0x19, "[": 0x1A, "]": 0x1B, "enter": 0x1C, "ctrl": 0x1D, "a": 0x1E, "l": 0x26, ";": 0x27, "'": 0x28, "`": 0x29,
    "shift": 0x2A, "backslash": 0x2B, "z": 0x2C, "m": 0x32, ",": 0x33, ".": 0x34, "/": 0x35, "right_shift": 0x36,
    "kp_multiply": 0x37, "alt": 0x38, "space": 0x39, "caps_lock": 0x3A, "f1": 0x3B, "f10": 0x44, "num_lock": 0x45,
    "scroll_lock": 0x46, "kp_7": 0x47, "kp_minus": 0x4A, "kp_5": 0x4C, "kp_plus": 0x4E, "kp_0": 0x52, "kp_dot": 0x53,
    "less": 0x56, "f11": 0x57, "f12": 0x58, "kp_enter": 0xE01C, "right_ctrl": 0xE01D, "kp_divide": 0xE035,
    "print_screen": 0xE037, "alt_gr": 0xE038, "home": 0xE047, "up": 0xE048, "page_up": 0xE049, "left": 0xE04B,
    "right": 0xE04D, "end": 0xE04F, "down": 0xE050, "page_down": 0xE051, "insert": 0xE052, "delete": 0xE053,
    "meta": 0xE05B, "right_meta": 0xE05C, "menu": 0xE05D, "power": 0xE05E, "sleep": 0xE05F,
}  # fmt: skip


def test_a_key_has_its_code():
    assert {name: chord(name) for name in KNOWN} == {name: (code,) for name, code in KNOWN.items()}


def test_no_code_stands_for_two_keys():
    codes: dict[int, str] = {}
    for name, code in SCANCODES.items():
        assert chord(name) == chord(codes.setdefault(code, name))
        assert scancode(code) == code


def test_a_chord_keeps_its_order_and_ignores_capitals():
    assert chord("Ctrl-ALT-f2") == (0x1D, 0x38, 0x3C)
    assert chord("meta-delete") == (0xE05B, 0xE053)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("retrun", "'retrun' in 'retrun' is not the name"),
        ("ctrl-", "'' in 'ctrl-' is not the name"),
        ("-", "'' in '-' is not the name"),
        ("a-b", "'a' in 'a-b' cannot be held"),
        ("f1-ctrl", "'f1' in 'f1-ctrl' cannot be held"),
        ("ä", "'ä' in 'ä' is not the name"),
    ],
)
def test_what_is_no_key_is_said(text, words):
    with pytest.raises(BadSteps, match=words):
        chord(text)


def test_text_becomes_keys_of_a_us_keyboard():
    shift = 0x2A
    assert strokes("aB1!") == [(0x1E,), (shift, 0x30), (0x02,), (shift, 0x02)]
    assert strokes("\n\t _-~") == [(0x1C,), (0x0F,), (0x39,), (shift, 0x0C), (0x0C,), (shift, 0x29)]
    assert len(strokes("".join(map(chr, range(32, 127))))) == 95


def test_a_character_that_is_not_there_is_told_by_its_place_only():
    with pytest.raises(BadSteps, match=r"^lane: character 6 is not on a US keyboard$"):
        strokes("passwört")


@pytest.mark.parametrize("number", [0, 0x80, 0xE000, 0xE080, 0x10000, -1, 0x1234, 0x4BE0])
def test_a_code_that_is_none_is_refused_with_a_hint_for_swapped_bytes(number):
    hint = "; the prefix belongs in the high byte, as in 0xE04B" if number == 0x4BE0 else ""
    with pytest.raises(BadSteps, match=rf"is not a set 1 make code, 0x01 to 0x7F or 0xE001 to 0xE07F{hint}$"):
        scancode(number)
