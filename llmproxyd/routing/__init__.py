"""Floor 1: who is asked, in which order, and what happens after a failure. Pure: values in, values out."""
