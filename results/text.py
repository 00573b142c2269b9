"""Text for the terminal, made safe to print, since it may hold names from data; imports nothing slow."""

import os
import sys
import textwrap

WIDTH = 80  # characters
EXIT_BROKEN_PIPE = 141  # as a shell gives it for a pipe whose reader has ended, such as `| head`


def wrap(text: str, indent: int | None = None) -> str:
    """`printable` text broken at 80 columns, but not within words, which paths and commands are.

    What continues a line is indented by `indent` spaces, else by two more than the text is.
    """
    text = printable(text)
    spaces = len(text) - len(text.lstrip(" ")) + 2 if indent is None else indent
    whole = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * spaces, **whole)


def wrap_lines(text: str, indent: int | None = None) -> str:
    """`wrap` of each line: a list stays a list."""
    return "\n".join(wrap(line, indent) for line in text.split("\n"))


def error_text(error: object) -> str:
    """What a command says of an error, each line wrapped, whose first word may be a long path."""
    return wrap_lines(f"error: {error}").replace("error:\n  ", "error: ", 1)


def printable(text: str) -> str:
    """Control and invisible characters as escapes: class folders and paths come from outside."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def leave_standard_output() -> None:
    """Let what is printed from now on vanish: nobody reads it any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
