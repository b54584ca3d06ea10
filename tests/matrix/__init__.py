"""Every client dialect with every provider, judged by the vendors' own SDKs."""
