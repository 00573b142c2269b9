"""A full or failing disk, or a damaged file, stops the whole study, as every further trial would fail too.

Such errors are recognised by their text, since Ray passes on errors of workers on other machines as text.
"""

import errno
import os

WORDS = (
    *(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)),
    "database or disk is full", "disk I/O error", "is damaged",
)  # fmt: skip


def storage_fault(error: BaseException | None) -> str | None:
    """The line of an error or of its causes that names a disk error or a damaged file, or None."""
    while error is not None:
        for line in str(error).splitlines():
            if any(word in line for word in WORDS):
                return line.strip()
        error = error.__cause__ or error.__context__
    return None
