"""The table of faults: what a provider, a client or the machine may do, and what clients may notice of it."""
