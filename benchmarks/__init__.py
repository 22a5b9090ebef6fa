"""The benchmarks: every figure beside its alternative, in the same run (log.md, section 8)."""
