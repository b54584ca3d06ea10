"""A second family of made values, texts and disguises, which no detector was written or corrected against.

It shares nothing with the first family but the arithmetic of check digits and the judge of what counts as found: other
countries' telephones, other layouts and separators, other languages, other kinds of document, other ordinary text. Once a
detector is corrected because of what is seen here, the figures from then on are no longer independent; the page about the
detectors keeps those from before.
"""
