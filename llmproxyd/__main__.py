"""``python -m llmproxyd`` is the same program as ``llmproxyd``."""

from llmproxyd.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
