"""Floor 2: answers that are kept so that nobody pays for them twice, and requests that share one call while it runs."""
