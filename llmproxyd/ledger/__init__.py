"""Floor 2: what was sent and what it cost, one entry per attempt; journal first, SQLite right after."""
