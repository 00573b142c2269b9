"""Files damaged in the ways that disks damage them."""

import random


def newest(folder):
    return max(folder.glob("checkpoint-*.pt"))


def damage(path, how: str) -> None:
    """Flip a bit of the middle byte, or keep the first half only."""
    content, middle = bytearray(path.read_bytes()), path.stat().st_size // 2
    content[middle] ^= 4
    path.write_bytes(content if how == "flipped bit" else content[:middle])


def damages(whole: bytes, flips: int, cuts: int):
    """The content with one bit flipped, and cut short, at random places; the same places each time."""
    lots = random.Random(0)
    for _ in range(flips):
        damaged = bytearray(whole)
        damaged[lots.randrange(len(whole))] ^= 1 << lots.randrange(8)
        yield bytes(damaged)
    for size in [0, len(whole) - 1, *(lots.randrange(len(whole)) for _ in range(cuts - 2))]:
        yield whole[:size]
