"""Folders of files that look like photographs; recognising a layout reads names only."""


def touch(root, *names):
    """Empty files of these names below `root`, which is returned."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def listed(source):
    """Path, label and group of each photograph."""
    return {(str(r.path.relative_to(source.root)), r.label, r.group) for r in source.records}
