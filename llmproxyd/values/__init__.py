"""Floor 0: what the rooms above hand to each other. Frozen values and small pure functions, nothing that acts."""
