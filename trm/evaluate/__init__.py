"""A checkpoint measured: the evaluation, early exit, answers step by step."""
