"""Checkpoints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.tlog import (
    EMPTY_ROOT,
    MAX_TREE_SIZE,
    Checkpoint,
    MalformedCheckpointError,
    format_checkpoint,
    parse_checkpoint,
)

ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="


def test_the_example_of_tlog_checkpoint():
    """A checkpoint is origin, size and root on a line each."""
    text = f"example.com/behind-the-sofa\n20852163\n{ROOT}\n"
    checkpoint = parse_checkpoint(text)
    assert (
        checkpoint.origin,
        checkpoint.size,
        checkpoint.extensions,
    ) == ("example.com/behind-the-sofa", 20852163, ())
    assert text == format_checkpoint(checkpoint)


def test_extension_lines_are_kept():
    """Lines after the third are opaque, and part of what was signed."""
    text = f"o\n0\n{ROOT}\nfirst\nsecond\n"
    assert parse_checkpoint(text).extensions == ("first", "second")
    assert text == format_checkpoint(parse_checkpoint(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "o\n1\n",
        f"\n1\n{ROOT}\n",
        f"o\n1\n{ROOT}",
        f"o\n\n{ROOT}\n",
        f"o\n1\n{ROOT}\n\n",
        f"o\n1\n{ROOT}\n\nx\n",
        f"o\n01\n{ROOT}\n",
        f"o\n+1\n{ROOT}\n",
        f"o\n-1\n{ROOT}\n",
        f"o\n1_0\n{ROOT}\n",
        f"o\n\u0661\n{ROOT}\n",
        f"o\n 1\n{ROOT}\n",
        f"o\n{MAX_TREE_SIZE + 1}\n{ROOT}\n",
        f"o\n{'9' * 100_000}\n{ROOT}\n",
        f"o\n1\n{ROOT[:-1]}\n",
        f"o\n1\n{ROOT[:-2]}J=\n",
        "o\n1\nAAAA\n",
        f"o\n1\n{ROOT}=\n",
        f"o\r\n1\n{ROOT}\n",
        f"\ud800\n1\n{ROOT}\n",
    ],
)
def test_other_texts_are_malformed(text):
    """Any other spelling of size or root, or an empty line, is malformed."""
    with pytest.raises(MalformedCheckpointError):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("", 0, EMPTY_ROOT),
        Checkpoint("o\no", 0, EMPTY_ROOT),
        Checkpoint("o", -1, EMPTY_ROOT),
        Checkpoint("o", MAX_TREE_SIZE + 1, EMPTY_ROOT),
        Checkpoint("o", 0, b"short"),
        Checkpoint("o", 0, EMPTY_ROOT, ("",)),
        Checkpoint("o", 0, EMPTY_ROOT, ("two\nlines",)),
        Checkpoint("\x00", 0, EMPTY_ROOT),
    ],
)
def test_what_would_not_parse_as_itself_is_not_written(checkpoint):
    """A checkpoint that its text would not give back is malformed."""
    with pytest.raises(MalformedCheckpointError):
        format_checkpoint(checkpoint)


lines = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1)


@given(
    st.builds(
        Checkpoint,
        lines,
        st.integers(0, MAX_TREE_SIZE),
        st.binary(min_size=32, max_size=32),
        st.lists(lines, max_size=3).map(tuple),
    )
)
def test_every_checkpoint_parses_as_itself(checkpoint):
    """Format and parse are a pair."""
    assert checkpoint == parse_checkpoint(format_checkpoint(checkpoint))


@given(st.text() | st.text(alphabet="o\n019A=").map(lambda text: text + f"\n{ROOT}\n"))
def test_text_is_one_checkpoint_or_malformed(text):
    """What parses is exactly what would be written; all else is named malformed."""
    try:
        checkpoint = parse_checkpoint(text)
    except MalformedCheckpointError:
        return
    assert text == format_checkpoint(checkpoint)
