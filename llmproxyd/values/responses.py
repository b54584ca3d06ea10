"""Names that both ends of the Responses dialect know: under them ``Chat.extras`` keep what has no canonical form."""

from __future__ import annotations

PHASES = "input[].phase"
"""List: of every assistant message of the input, in order, the phase it was marked with, or None."""

HOSTED_TOOLS = "hosted_tools"
"""List: definitions of tools that run at the provider and that an answer can do without."""
