"""What the detectors of personal and secret data find, miss and cost: made values, ordinary text, one report.

Nothing here imports a detector except ``report``; the values are made from the public definition of each number,
so a mistake in a detector's pattern cannot hide in the values that test it.
"""
