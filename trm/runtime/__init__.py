"""The machine that a run uses: ranks, GPUs, signals, locks, cost, provenance."""
