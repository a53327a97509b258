"""The training loop, its step, its state, and what it records."""
