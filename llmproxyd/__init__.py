"""llmproxyd: one daemon between programs and language models."""

__version__ = "0.1.0"
