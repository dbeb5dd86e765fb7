"""Names of keys and characters of a US keyboard as scancodes.

AT set 1 make codes; extended keys carry their prefix in the high byte (0xE04B is the left arrow), as `send_key` expects
since protocol 1.2. The codes are those of the IBM enhanced keyboard's scan code set 1 (Microsoft, "USB HID to PS/2 Scan
Code Translation Table", revision 1.3).
"""

from __future__ import annotations

from .errors import BadSteps

_ROWS = {
    0x02: "1 2 3 4 5 6 7 8 9 0 minus equal backspace tab",
    0x10: "q w e r t y u i o p left_bracket right_bracket enter ctrl",
    0x1E: "a s d f g h j k l semicolon apostrophe grave shift backslash",
    0x2C: "z x c v b n m comma dot slash right_shift kp_multiply alt space caps_lock",
    0x3B: "f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock",
    0x47: "kp_7 kp_8 kp_9 kp_minus kp_4 kp_5 kp_6 kp_plus kp_1 kp_2 kp_3 kp_0 kp_dot",
    0x56: "less f11 f12",
    0xE047: "home up page_up",
    0xE04F: "end down page_down insert delete",
    0xE05B: "meta right_meta menu power sleep",
}
_SINGLE = {
    "esc": 0x01,
    "kp_enter": 0xE01C,
    "right_ctrl": 0xE01D,
    "mute": 0xE020,
    "volume_down": 0xE02E,
    "volume_up": 0xE030,
    "kp_divide": 0xE035,
    "print_screen": 0xE037,
    "alt_gr": 0xE038,
    "break": 0xE046,
    "left": 0xE04B,
    "right": 0xE04D,
    "wake": 0xE063,
}
_NAMES = "minus equal left_bracket right_bracket semicolon apostrophe grave backslash comma dot slash space enter tab"
_PLAIN = dict(zip("-=[];'`\\,./ \n\t", _NAMES.split(), strict=True))
_SHIFTED = dict(zip('!@#$%^&*()_+{}:"~|<>?', "1234567890-=[];'`\\,./", strict=True))

#: Every key's name and its scancode.
SCANCODES: dict[str, int] = {
    name: first + offset for first, names in _ROWS.items() for offset, name in enumerate(names.split())
} | _SINGLE
_MODIFIERS = [
    SCANCODES[name] for name in ("ctrl", "shift", "alt", "meta", "right_ctrl", "right_shift", "alt_gr", "right_meta")
]


def chord(text: str) -> tuple[int, ...]:
    """Scancodes of keys held together, the modifiers first: "enter", "ctrl-alt-f2".

    Raises BadSteps naming the part that is not a key.
    """
    parts = text.lower().split("-")
    codes = []
    for number, part in enumerate(parts):
        name = _PLAIN.get(part, part)
        if name not in SCANCODES:
            raise BadSteps(f"{name!r} in {text!r} is not the name of a key, such as enter, f2 or ctrl-alt-delete")
        if number < len(parts) - 1 and SCANCODES[name] not in _MODIFIERS:
            only = "only ctrl, shift, alt and meta keys may stand before the last key"
            raise BadSteps(f"{name!r} in {text!r} cannot be held: {only}")
        codes.append(SCANCODES[name])
    return tuple(codes)


def scancode(number: int) -> int:
    """The number when it is a make code that ryll sends unchanged. Raises BadSteps."""
    if 0 < number < 0x80 or 0xE000 < number < 0xE080:
        return number
    swapped = number & 0xFF == 0xE0 and number > 0xFF
    hint = f"; the prefix belongs in the high byte, as in 0xE0{number >> 8:02X}" if swapped else ""
    raise BadSteps(f"{number:#06x} is not a set 1 make code, 0x01 to 0x7F or 0xE001 to 0xE07F{hint}")


def strokes(text: str) -> list[tuple[int, ...]]:
    """What to press for each character of the text, one chord a character.

    Raises BadSteps naming the place, not the character.
    """
    found: list[tuple[int, ...]] = []
    for place, character in enumerate(text, 1):
        shifted = character in _SHIFTED or ("A" <= character <= "Z")
        base = _SHIFTED.get(character, character.lower() if shifted else character)
        name = _PLAIN.get(base, base)
        if name not in SCANCODES:
            raise BadSteps(f"character {place} is not on a US keyboard")
        found.append((SCANCODES["shift"], SCANCODES[name]) if shifted else (SCANCODES[name],))
    return found
