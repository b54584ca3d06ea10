"""Money with the real daemon: the ledger against what the providers say they served, whatever happens meanwhile."""
