"""The values that flags take: text of the command line -> what it means, or a line that says what is wrong with it."""

from argparse import ArgumentTypeError
from collections.abc import Iterable
from functools import partial


def duration(text: str) -> float:
    """`90s`, `45m`, `12h` or plain seconds -> seconds."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a time such as 90s, 45m or 12h") from None
    if not 0 < seconds < float("inf"):
        raise ArgumentTypeError(f"{text!r} must be greater than zero")
    return seconds


def count(text: str, lowest: int = 1, highest: int | None = None) -> int:
    """A whole number in a range."""
    if not text.isdecimal() or int(text) < lowest or (highest is not None and int(text) > highest):
        span = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"
        raise ArgumentTypeError(f"{text!r} is not a whole number {span}")
    return int(text)


at_least_two = partial(count, lowest=2)
seed = partial(count, lowest=0, highest=2**32 - 1)  # what every random generator takes


def gpu_share(text: str) -> float:
    """A number of GPUs that Ray can give to a trial: a fraction of one, or whole ones."""
    try:
        gpus = float(text)
    except ValueError:
        gpus = -1.0
    if not (0 <= gpus < 1 or (gpus > 0 and gpus.is_integer())):
        raise ArgumentTypeError(f"{text!r} is neither a part of a GPU, such as 0.5, nor a number of GPUs")
    return gpus


def ratios(text: str) -> tuple[float, ...]:
    """`0.5,1,2` -> numbers above 0, at most 10."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.5,1") from None
    if not all(0 < number <= 10 for number in numbers):
        raise ArgumentTypeError(f"{text!r}: each number must be above 0 and at most 10")
    return tuple(dict.fromkeys(numbers))


def fractions(text: str) -> tuple[float, ...]:
    """`0.1,0.5` -> numbers between 0 and 1; `none` -> no numbers."""
    numbers = () if text == "none" else ratios(text)
    if not all(number < 1 for number in numbers):
        raise ArgumentTypeError(f"{text!r}: parts lie between 0 and 1")
    return numbers


def names(text: str, known: Iterable[str]) -> tuple[str, ...]:
    """`principal,r3gan` -> names, each once; `none` -> no names."""
    found = () if text == "none" else tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in found if name not in known]:
        raise ArgumentTypeError(f"{unknown[0]!r} is unknown; there are: {', '.join(known)}, or none")
    return found


def positive(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
