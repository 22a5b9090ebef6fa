"""The benchmarks: every figure beside its alternative, measured in the same run (log.md, section 8)."""
