"""The figures of the chain (chain.md, section 8); each module has `run(ground) -> list[Figure]`."""

from typing import Final

MODULES: Final = ("sending", "throughput", "following", "advancing", "evidence", "gas", "devchain")
"""In the order in which they run."""
