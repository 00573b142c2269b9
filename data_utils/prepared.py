"""What was prepared, in words."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

MAX_LEAKS = 5  # printed
SPLIT_WORDS = {
    "grouped": "by group",
    "random": "RANDOM, as in the paper; images of one group lie on several sides",
    "given": "as the data came; images of one group may lie on several sides",
}
MIN_GROUPS = 5  # of each class on a side: scores of fewer patients say little
WANTED = {"train": 0.70, "validation": 0.15, "test": 0.15}
MAX_DEVIATION = 0.05  # of a side's share


@dataclass(frozen=True)
class Prepared:
    """Where the prepared file lies and what is in it.

    `counts` are images and `group_counts` groups, (negative, positive) by side of the split. `leaks` names the files
    of different groups that look the same, as the user knows them: they may tell who a patient is and go to the
    console only, as do `notes` and `files`, each with the salted id of its image. `num_leaked_test` test images have
    their group on the training side too.
    """

    path: Path
    fingerprint: str
    layout: str
    class_names: tuple[str, str]
    image_size: int
    split_protocol: str
    split_seed: int
    counts: dict[str, tuple[int, int]]
    group_counts: dict[str, tuple[int, int]]
    num_groups: int
    num_near_duplicates: int
    num_skipped: int
    is_sample: bool
    notes: tuple[str, ...]
    leaks: tuple[tuple[str, str], ...]
    num_leaked_test: int
    files: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        """What was recognised, in a few lines of at most 80 columns."""
        negative, positive = map(printable, self.class_names)
        total = sum(map(sum, self.counts.values()))
        lines = [
            f"data         {self.layout}",
            f"prepared     {self.image_size} px, fingerprint {self.fingerprint}",
            f"classes      1 = {positive} (positive), 0 = {negative} (negative)",
            f"images       {total} in {self.num_groups} groups; {self.num_skipped} bad files skipped",
            f"duplicates   {self.num_near_duplicates} near-duplicate pairs across groups, merged",
            *(
                f"leak         {printable(a)} and {printable(b)} look the same but have different groups; merged"
                for a, b in self.leaks[:MAX_LEAKS]
            ),
            *self._split_lines(total),
            f"leakage      {self.num_leaked_test} of {sum(self.counts['test'])} test images have their group or a "
            "near-copy in training",
            *(f"note         {printable(note)}" for note in self.notes),
        ]
        # Names stay whole, to be searched for.
        wrap = textwrap.TextWrapper(80, subsequent_indent=" " * 13, break_long_words=False, break_on_hyphens=False)
        return "\n".join(map(wrap.fill, lines))

    def _split_lines(self, total: int) -> list[str]:
        shares = {side: sum(count) / total for side, count in self.counts.items()}
        said = " : ".join(f"{share:.0%}" for share in shares.values())
        lines = [f"split        seed {self.split_seed}, {said} of the images, {SPLIT_WORDS[self.split_protocol]}"]
        for side, (n, p) in self.counts.items():
            groups = " and ".join(map(str, self.group_counts[side]))
            lines.append(f"  {side:<10} {n + p} images: {n} negative, {p} positive, of {groups} groups")
        if self.split_protocol == "grouped":
            lines += self._warnings(shares)
        return lines

    def _warnings(self, shares: dict[str, float]) -> list[str]:
        warnings = []
        if max(abs(share - WANTED[side]) for side, share in shares.items()) > MAX_DEVIATION:
            warnings.append(
                "WARNING      the sides are far from 70:15:15, because groups are few or large; check what is taken "
                "for the patient (--group-pattern REGEX)"
            )
        if few := [side for side, counts in self.group_counts.items() if min(counts) < MIN_GROUPS]:
            warnings.append(
                f"WARNING      fewer than {MIN_GROUPS} groups hold a class in {' and '.join(few)}: scores there "
                "depend on single patients"
            )
        return warnings


def printable(text: str) -> str:
    """Names come from data: what could steer a terminal is escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
