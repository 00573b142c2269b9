"""Text that may hold names from data, made safe to print; imports nothing slow."""

import textwrap

WIDTH = 80  # characters


def wrap(text: str) -> str:
    """`printable` text broken at 80 columns, but not within words, which paths and commands are."""
    text = printable(text)
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def printable(text: str) -> str:
    """Control and invisible characters as escapes: class folders and paths come from outside."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
