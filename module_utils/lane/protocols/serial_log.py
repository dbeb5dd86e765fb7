"""The guest's serial log: its lines, and the banner that has to be the guest's own.

The firmware prints to the same port: what it shows on its console, with escape sequences, until it hands over to the
guest's program.
"""

from __future__ import annotations

import re

#: What OVMF prints (edk2: BdsDxe, UiApp, Shell, the exception handler). A banner that is part of one of these proves
#: nothing of the guest.
FIRMWARE_TEXTS = (
    'BdsDxe: loading Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x3,0x0)',
    'BdsDxe: starting Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x3,0x0)',
    "BdsDxe: failed to load Boot0001",
    "BdsDxe: failed to start Boot0001",
    "BdsDxe: No bootable option or device was found.",
    "BdsDxe: Press any key to enter the Boot Manager Menu.",
    "UEFI Interactive Shell v2.2",
    "TianoCore",
    "UEFI v2.70 (EDK II, 0x00010000)",
    "Press ESC in 5 seconds to skip startup.nsh or any other key to continue.",
    "map: No mapping found.",
    "Mapping table",
    ">>Start PXE over IPv4.",
    ">>Start HTTP Boot over IPv4.",
    "Start boot option",
    "!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!",
)
#: A line with one of these is the firmware's, whatever else stands in it.
FIRMWARE_MARKS = (
    "BdsDxe:",
    "UEFI Interactive Shell",
    "Shell>",
    "startup.nsh",
    ">>Start PXE",
    ">>Start HTTP",
    "X64 Exception",
    "EDK II",
)
#: With this line the firmware hands over to a program: what a guest prints comes after the last of them.
HANDOVER = "BdsDxe: starting Boot"
# A line end, or an escape sequence of the firmware's console (ECMA-48), which moves the cursor to another line.
_BREAK = re.compile(r"[\r\n]|\x1b\[[0-9;=?]*[A-Za-z]")


def lines(text: str) -> list[tuple[int, str]]:
    """The lines of the log that say something: number, from 1, and text without escape sequences."""
    found, number, start = [], 1, 0
    for end in [*_BREAK.finditer(text), None]:
        piece = text[start : end.start() if end else len(text)].strip()
        if piece:
            found.append((number, piece))
        if end:
            start = end.end()
            number += end[0] == "\n"
    return found


def of_firmware(text: str) -> bool:
    """Whether a line is the firmware's."""
    return any(mark in text for mark in FIRMWARE_MARKS)


def firmware_says(banner: str) -> bool:
    """Whether the firmware itself prints this text, so that it cannot be a guest's banner."""
    return of_firmware(banner) or any(banner.lower() in text.lower() for text in FIRMWARE_TEXTS)


def find_banner(text: str, banner: str) -> tuple[int, str] | None:
    """The first line with the banner that the guest itself printed: not the firmware's, and after its last handover.

    Returns its number and its text from the banner on.
    """
    found = None
    for number, line in lines(text):
        if HANDOVER in line:
            found = None
        elif not found and banner in line and not of_firmware(line):
            found = number, line[line.index(banner) :]
    return found
