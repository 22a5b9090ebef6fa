"""Whatever bytes come, a parser returns or raises a named error (log.md, section 7, law 13)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.parsers import PARSERS, SEEDS, exported_parsers, feed

HARNESS = Path(__file__).with_name("coverage_guided.py")
SECONDS_EACH = 8
PIECES = [b"", b"\n", b"\x00", b"-1", b"0", b"9" * 30, b"\xff", b"+", b"/", b"=", b"\xc2\xa0"]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A true input, cut, repeated and written over in a few places; or noise."""
    data = bytearray(draw(st.sampled_from(sorted(SEEDS.values())) | st.binary(max_size=300)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 40)))
        piece = draw(
            st.sampled_from(PIECES) | st.binary(max_size=6) | st.just(bytes(data[start:end]))
        )
        data[start:end] = piece * draw(st.integers(0, 3))
    return bytes(data)


def test_every_parser_of_the_kernel_is_fuzzed():
    """A parser that the kernel offers and nobody feeds would be found here."""
    assert exported_parsers() <= PARSERS.keys()


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=mutated())
def test_a_parser_returns_or_raises_a_named_error(name, data):
    """log 32: malformed input of any kind ends in a named error, in every parser (law 13)."""
    feed(name, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_survives_a_fuzzer_that_watches_its_branches(name, tmp_path):
    """log 32: so it does when each new branch that an input reaches guides the next (law 13)."""
    pytest.importorskip(
        "atheris", reason="no wheel of atheris for this Python: pip install atheris"
    )
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for seed, data in SEEDS.items():
        (corpus / seed.replace(" ", "_")).write_bytes(data)
    done = subprocess.run(
        [
            sys.executable,
            HARNESS,
            name,
            str(corpus),
            f"-max_total_time={SECONDS_EACH}",
            "-max_len=4096",
        ],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr[-3000:].decode("utf-8", "replace")
