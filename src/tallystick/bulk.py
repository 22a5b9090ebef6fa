"""
Bulk work: pure tasks run here, in processes of this machine, or on a Dask cluster.

A task is a value and a function of a module, so it can be sent anywhere; results come back in
the order of the tasks, whoever was first. Audit, reconcile and check of an export are such
tasks over aligned subtrees. Follows DESIGN.md, decision 12.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from tallystick.errors import Error, Kind

INLINE_TASKS: Final = 2
"""A pool of processes costs half a second to start; so few tasks are done sooner than that."""
DASK_TIMEOUT: Final = "10s"
"""A scheduler that has not answered by then is not there."""

Task = TypeVar("Task")
Result = TypeVar("Result")


class ClusterUnavailableError(Error):
    """The Dask cluster does not answer, or the extra `tallystick[dask]` is not installed."""

    kind = Kind.UNAVAILABLE


class Bulk:
    """
    Where tasks run: `Bulk(processes=2)` or `Bulk(cluster="tcp://scheduler:8786")`.

    *processes* defaults to the cores of this machine, and no pool is started for less than
    three tasks. Its workers start when the first tasks come, and end with the `with` block.
    """

    def __init__(self, *, processes: int | None = None, cluster: str | None = None) -> None:
        self._processes = processes or os.cpu_count() or 1
        self._cluster = cluster
        self._executor: Executor | None = None
        self._close: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        return self

    def map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], *, small: bool = False
    ) -> Iterator[Result]:
        """
        Yield the results of *function* over *tasks*, in their order.

        Small tasks are done here, unless a pool stands already.

        Raises:
            ClusterUnavailableError: The cluster does not answer.
        """
        few = small or len(tasks) <= INLINE_TASKS or self._processes == 1
        if self._cluster is None and few and self._executor is None:
            return map(function, tasks)
        return iter(self._started().map(function, tasks))

    def _started(self) -> Executor:
        """Return the executor, started by the first who asks."""
        if self._executor is None:
            if self._cluster is not None:
                self._executor, self._close = dask_executor(self._cluster)
            else:
                # spawn: this process has threads, which a fork would leave half alive.
                context = multiprocessing.get_context("spawn")
                pool = ProcessPoolExecutor(self._processes, mp_context=context)
                self._executor, self._close = pool, lambda: pool.shutdown(cancel_futures=True)
        return self._executor

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()


def dask_executor(address: str) -> tuple[Executor, Callable[[], None]]:
    """
    Return the executor of the cluster whose scheduler is at *address*, and what closes it.

    Raises:
        ClusterUnavailableError: It does not answer within 10 s, or the extra is not installed.
    """
    try:
        from distributed import Client  # noqa: PLC0415 (an extra: only who names a cluster has it)
    except ImportError as missing:
        raise ClusterUnavailableError("install tallystick[dask] to use a cluster") from missing
    try:
        client: Any = cast("Any", Client)(address, timeout=DASK_TIMEOUT)
    except (OSError, ValueError, TimeoutError) as refused:
        raise ClusterUnavailableError(f"no Dask scheduler answers at {address}") from refused
    # pure: the same block of another audit is another task, whatever its arguments are.
    executor: Executor = client.get_executor(pure=False)

    def close() -> None:
        executor.shutdown(wait=False)
        client.close()

    return executor, close
