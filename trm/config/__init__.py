"""The settings of a training: their types, and how they are composed."""
