"""The figures of identity (identity.md, section 8); each module has `run(ground)`."""

from typing import Final

MODULES: Final = ("users", "api_keys", "human_proofs", "admission", "usage")
"""In the order in which they run; all use the rows of `filling`."""
