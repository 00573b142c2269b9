"""A full or failing disk, or a damaged file, ends a study and not a trial: every further trial would meet it.

Such an error is told by its words, for it may come from a worker on another machine, through Ray, as text.
"""

import errno
import os

from study.errors import StorageFault

WORDS = (
    *(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)),
    "database or disk is full", "disk I/O error", "is damaged",
)  # fmt: skip


def storage_fault(error: BaseException | None) -> str | None:
    """The line of an error, or of what caused it, that tells of the disk or of a damaged file; None where none does."""
    while error is not None:
        for line in str(error).splitlines():
            if any(word in line for word in WORDS):
                return line.strip()
        error = error.__cause__ or error.__context__
    return None


def way_out(fault: str) -> StorageFault:
    return StorageFault(
        f"the disk stopped the study: {fault}; what had ended is kept: make room or mend the disk, and give the same "
        "command with --resume"
    )
