"""Which of the classes found is the positive one, and which two are compared."""

import re
from dataclasses import dataclass
from unicodedata import normalize

from data_utils.errors import DataError
from data_utils.layouts.source import Flags, listed

# Which class is the positive one is never guessed from the alphabet, nor from numbers other than 0 and 1.
POSITIVE_NAMES = {
    "positive", "aug-positive", "infected", "infection", "ischaemia", "ischemia", "ulcer", "dfu", "wound",
    "abnormal", "abnormal(ulcer)", "diseased",
}  # fmt: skip


NEGATED, INFECTED = re.compile("no|un|without|free|clean"), re.compile("infect|ischa?em")


@dataclass(frozen=True)
class Classes:
    """Names (negative, positive), and the label of each class found that belongs to one of them."""

    names: tuple[str, str]
    labels: dict[str, int]

    def left_out(self, found: list[str]) -> tuple[str, ...]:
        """A note of the classes found that are in neither."""
        others = [name for name in found if name not in self.labels]
        return (f"The classes {listed(others)} are in neither of the two and were left out.",) if others else ()


def choose_classes(found: list[str], place, flags: Flags, hint: str = "") -> Classes:
    """The two classes to compare out of those found in `place`; raises `DataError` where the user has to say.

    `hint` says what else was seen there.
    """
    if odd := [name for name in found if not is_text(name)]:
        raise DataError(f"the class {odd[0]!r} in {place} is not named in UTF-8; rename it")
    if len(found) < 2:
        raise DataError(
            f"{place} holds {len(found)} class(es) of images ({listed(found) or 'none'}); two are needed: two "
            f"folders with photographs, or a CSV manifest with the columns path,label,group{hint}"
        )
    positive = _parts(flags.positive, found, place, "--positive") if flags.positive else likely_positive(found)
    negative = _parts(flags.negative, found, place, "--negative") if flags.negative else []
    if not negative and len(found) == 2 and len(positive) == 1:
        negative = [name for name in found if name not in positive]
    if not negative and len(found) > 2:
        first, second = (positive or found)[0], next(n for n in found if n != (positive or found)[0])
        raise DataError(
            f"{place} holds {len(found)} class(es) of images ({listed(found)}); name the two to compare, such as "
            f"--positive {_quoted(first)} --negative {_quoted(second)} (several are joined by commas; others are "
            f"left out){hint}"
        )
    if len(positive) != 1 and not flags.positive:
        raise DataError(
            f"which of {listed(found)} in {place} is the positive class? Say --positive {_quoted(found[-1])} or "
            f"--positive {_quoted(found[0])}{hint}"
        )
    if both := set(positive) & set(negative):
        raise DataError(f"{listed(sorted(both))} is named in --positive and in --negative")
    labels = dict.fromkeys(negative, 0) | dict.fromkeys(positive, 1)
    return Classes((_joined(negative), _joined(positive)), labels)


def likely_positive(found: list[str]) -> list[str]:
    """The classes whose own name says that they are positive; none where another's says so, too: of ulcer and
    infected_ulcer either may be meant."""
    if set(found) == {"0", "1"}:
        return ["1"]
    plain = {name: re.sub(r"[ _]", "-", name.lower()) for name in found}
    likely = [name for name in found if plain[name] in POSITIVE_NAMES]
    others = [plain[name] for name in found if name not in likely and not NEGATED.match(plain[name])]
    doubtful = [other for other in others if INFECTED.search(other) or any(plain[name] in other for name in likely)]
    return [] if doubtful else likely


def is_text(name: str) -> bool:
    """Whether tables can hold it: a folder's name may be any bytes."""
    return name.encode(errors="ignore").decode() == name


def _parts(said: str, found: list[str], place, flag: str) -> list[str]:
    said = normalize("NFC", said)
    named = {normalize("NFC", name): name for name in found}  # macOS writes an accent as a character of its own
    parts = [said] if said in named else [part.strip() for part in said.split(",")]
    parts = [named.get(part, part) for part in parts]
    if unknown := [part for part in parts if part not in found]:
        raise DataError(f"{flag} {said!r}: {place} holds no class {unknown[0]!r}, but {listed(found)}")
    return parts


def _joined(names: list[str]) -> str:
    return "+".join(names)


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else f"'{name}'"
