"""
What the demo shows: a moving line while a step runs, and one line that stays when it is done.

Into a pipe or a file only the lines that stay are written, plain.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

NAME_WIDTH = 36


class Step:
    """One step while it runs; *detail* is what its lasting line says."""

    def __init__(self, progress: Progress | None, name: str) -> None:
        self.detail = ""
        self._progress = progress
        self._task = progress.add_task(name, total=None, count="") if progress else None

    def move(self, done: int, total: int | None = None) -> None:
        """Show that *done* of *total* things are done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, count=f"{done:,}")


class Screen:
    """The terminal, or whatever stands in its place."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Run a step; its lasting line is written unless it raises."""
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(self._moving()) if self.console.is_terminal else None
            step = Step(progress, name)
            yield step
        seconds = time.monotonic() - began
        self.line(f"{name:<{NAME_WIDTH}} {seconds:5.1f} s  {step.detail}".rstrip())

    def line(self, text: str = "") -> None:
        """Write a line that stays, as it is: nothing in it is markup, and it is never wrapped."""
        self.console.print(text, markup=False, soft_wrap=True)

    def _moving(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )
