"""Floor 2: what lasts longer than a snapshot: health, discovered models, who was ever usable."""
