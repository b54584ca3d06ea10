"""Speed, measured against nginx as a plain proxy and a bare aiohttp proxy in the same run. ``make bench``."""
