"""Jobs: few run, some more are remembered, all end with the server."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from tallystick.http.errors import JobNotFoundError, JobsBusyError, JobStoppedError
from tallystick.http.jobs import Jobs

if TYPE_CHECKING:
    from tallystick.http.jobs import Job, Progress


class Answer(msgspec.Struct):
    """What work returns here."""

    text: str


def ended(job: Job) -> object:
    """What became of *job*, once it has ended."""
    return job.outcome.result(10)


def test_no_more_run_than_may() -> None:
    """A job beyond the limit is refused, and taken once another has ended."""
    jobs, go = Jobs(running=2), threading.Event()

    def work(_progress: Progress) -> Answer:
        assert go.wait(10)
        return Answer("done")

    running = [jobs.start("log", "audit", work) for _ in range(2)]
    with pytest.raises(JobsBusyError):
        jobs.start("log", "audit", work)
    go.set()
    assert [ended(job) for job in running] == [Answer("done")] * 2
    assert ended(jobs.start("log", "audit", work)) == Answer("done")


def test_the_oldest_are_forgotten() -> None:
    """Of jobs that ended as many are remembered as told; one that runs is never forgotten."""
    jobs, go = Jobs(running=2, kept=3), threading.Event()

    def slow(_progress: Progress) -> Answer:
        assert go.wait(10)
        return Answer("slow")

    first = jobs.start("log", "audit", slow)
    later = []
    for _ in range(4):
        later.append(jobs.start("log", "audit", lambda _progress: Answer("quick")))
        ended(later[-1])
    known = []
    for job in (first, *later):
        try:
            known.append(jobs.get("log", job.job))
        except JobNotFoundError:
            continue
    go.set()
    assert known == [first, *later[-2:]]
    assert ended(first) == Answer("slow")


def test_a_job_is_known_under_its_log() -> None:
    """A job's name opens it under its own log and no other."""
    jobs = Jobs()
    job = jobs.start("log", "audit", lambda _progress: Answer("x"))
    assert jobs.get("log", job.job) is job
    for log, name in (("other", job.job), ("log", "0" * 32)):
        with pytest.raises(JobNotFoundError):
            jobs.get(log, name)


def test_what_is_raised_is_the_outcome() -> None:
    """Work that raises ends its job with what was raised."""
    raised = ValueError("broken")

    def work(_progress: Progress) -> Answer:
        raise raised

    assert ended(Jobs().start("log", "audit", work)) is raised


def test_waiting_ends_with_the_job_or_in_time() -> None:
    """A wait says whether the job has ended, and does not end it."""
    jobs, go = Jobs(), threading.Event()

    def work(_progress: Progress) -> Answer:
        assert go.wait(10)
        return Answer("done")

    async def wait_twice() -> tuple[bool, bool]:
        job = jobs.start("log", "audit", work)
        before = await job.wait(seconds=0.01)
        go.set()
        return before, await job.wait(seconds=10)

    assert asyncio.run(wait_twice()) == (False, True)


def test_jobs_end_with_the_server() -> None:
    """A server that stops ends a job at its next progress, and takes no other."""
    jobs, began = Jobs(), threading.Event()

    def work(progress: Progress) -> Answer:
        for done in range(10_000):
            progress(done, 10_000)
            began.set()
            time.sleep(0.01)
        return Answer("never")

    job = jobs.start("log", "audit", work)
    assert began.wait(10)
    jobs.stop()
    assert job.total == 10_000
    assert isinstance(job.outcome.result(0), JobStoppedError)
    with pytest.raises(JobsBusyError):
        jobs.start("log", "audit", work)
