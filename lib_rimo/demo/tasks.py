"""Independent pieces of work side by side in processes, under one progress bar with time left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

from tqdm import tqdm

Task = TypeVar("Task")
Result = TypeVar("Result")
Advance = Callable[[int], None]
Work = Callable[[Task, Advance], Result]

_DONE = 0  # what the queue says after the last advance: nobody advances by nothing


class Workers:
    """Processes that are started when there is work for more than one, and then stay.

    Each computes on one thread: narrow networks spend their time in small operations, which more
    threads only slow down.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._context = multiprocessing.get_context("spawn")
        self._advances: SimpleQueue[int] = self._context.SimpleQueue()
        self._pool: ProcessPoolExecutor | None = None

    def run(
        self,
        work: Work[Task, Result],
        tasks: Sequence[Task],
        *,
        total: int,
        unit: str,
        description: str,
    ) -> list[Result]:
        """Run `work(task, advance)` for each task; the bar ends at `total` units of advance.

        A single task stays in this process, on all its threads. `work` and the tasks have to be
        picklable. Ctrl+C waits for the running tasks, so they should save what they have when
        interrupted, or be short.
        """
        if not tasks:
            return []
        with tqdm(total=total, unit=unit, desc=description, dynamic_ncols=True) as bar:
            if self.processes == 1 or (len(tasks) == 1 and self._pool is None):
                return [work(task, bar.update) for task in tasks]
            return self._run_in_processes(work, tasks, bar.update)

    def _run_in_processes(
        self, work: Work[Task, Result], tasks: Sequence[Task], advance: Advance
    ) -> list[Result]:
        pool = self._pool = self._pool or ProcessPoolExecutor(
            self.processes, self._context, _prepare_process, (self._advances,)
        )
        watcher = threading.Thread(target=_pass_on, args=(self._advances, advance), daemon=True)
        watcher.start()
        try:
            futures = [pool.submit(_work, work, task) for task in tasks]
            return [future.result() for future in futures]
        except BaseException:
            self.close()
            raise
        finally:
            self._advances.put(_DONE)
            watcher.join()

    def close(self) -> None:
        """End the processes after their running tasks."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _pass_on(advances: SimpleQueue[int], advance: Advance) -> None:
    """Hand on what the processes report until the end is reported."""
    while (number := advances.get()) != _DONE:
        advance(number)


_advances: SimpleQueue[int]  # of a worker process


def _prepare_process(advances: SimpleQueue[int]) -> None:
    global _advances
    _advances = advances
    # Ctrl+C reaches all processes; work that can be stopped well puts its own handler there.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)


def _work(work: Work[Task, Result], task: Task) -> Result:
    return work(task, _advances.put)


def core_count() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
