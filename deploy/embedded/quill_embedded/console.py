"""What the person at the terminal reads: few sentences, colours only where they can be seen."""

from collections.abc import Iterable, Sequence

from rich.console import Console as RichConsole
from rich.text import Text


class Console:
    """The terminal of the supervisor. Progress and results go to standard output, complaints to standard
    error; what is meant to be copied is never broken into lines.
    """

    def __init__(self) -> None:
        self._out = RichConsole(highlight=False)
        self._error = RichConsole(stderr=True, highlight=False)

    def say(self, text: str, *, style: str = "") -> None:
        """A line."""
        self._out.print(Text(text, style=style), soft_wrap=True)

    def title(self, text: str) -> None:
        """A line that begins something."""
        self.say(text, style="bold green")

    def copyable(self, text: str) -> None:
        """A command or address to be copied."""
        self.say(f"  {text}", style="cyan")

    def warn(self, text: str) -> None:
        """Something is wrong, and the stack goes on."""
        self._error.print(Text(text, style="yellow"), soft_wrap=True)

    def fail(self, text: str) -> None:
        """The one sentence before an exit with a code other than 0."""
        self._error.print(Text(text, style="bold red"), soft_wrap=True)

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        """Rows in columns as wide as they have to be; the first column stands out."""
        cells = [list(row) for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for first, *others in cells:
            line = Text("  ")
            line.append(first.ljust(widths[0]), style="bold")
            for cell, width in zip(others, widths[1:], strict=True):
                line.append(f"   {cell.ljust(width)}")
            line.rstrip()
            self._out.print(line, soft_wrap=True)
