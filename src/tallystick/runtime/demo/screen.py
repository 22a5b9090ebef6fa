"""
What a story shows: a moving line while a step runs, and one line that stays when it is done.

Into a pipe or a file only the lines that stay are written, plain.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

NAME_WIDTH: Final = 40


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step that is over, what it took, and what its line says."""

    name: str
    seconds: float
    detail: str


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
    """The terminal, or whatever stands in its place; one that is *silent* only remembers."""

    def __init__(self, *, silent: bool = False) -> None:
        self.done: list[StepDone] = []
        self._console = Console(highlight=False, quiet=silent)
        self._moves = self._console.is_terminal and not silent

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Run a step; its lasting line is written unless it raises."""
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(self._moving()) if self._moves else None
            step = Step(progress, name)
            yield step
        done = StepDone(name, round(time.monotonic() - began, 3), step.detail)
        self.done.append(done)
        self.line(f"{name:<{NAME_WIDTH}} {done.seconds:5.1f} s  {done.detail}".rstrip())

    def line(self, text: str = "") -> None:
        """Write a line that stays, as it is: nothing in it is markup, and it is never wrapped."""
        self._console.print(text, markup=False, soft_wrap=True)

    def _moving(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
