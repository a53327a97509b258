"""The table of experiments, the files of its results, and how far they are."""
