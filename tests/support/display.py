"""A display whose lines are kept instead of printed."""

from study.progress.display import Display


class KeptLines(Display):
    """As where standard output is no terminal; `lines` are without the time since the start."""

    def __init__(self):
        super().__init__()
        self.in_terminal, self.lines = False, []

    def line(self, text: str) -> None:
        self.lines.append(text[7:])
