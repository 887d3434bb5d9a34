"""Is yours the same? Loading, calling, judging and diagnosing somebody's backward pass."""
