"""What a training may be told: types, and how settings are composed."""
