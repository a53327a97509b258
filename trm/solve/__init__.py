"""A trained model found, loaded, and used on puzzles."""
