"""What is kept of an answered request so that a later one can go on from it, and what a keeper of it must offer."""

from __future__ import annotations

from typing import Protocol

import msgspec


class StoredResponse(msgspec.Struct, frozen=True):
    """One answer of OpenAI's Responses dialect.

    ``owner``: whoever asked; nobody else may see it. ``response``: the JSON object the client got. ``items``: JSON
    array of everything that was sent to the model, earlier turns included. ``label``: the privacy label the
    conversation had, which what goes on from it inherits.
    """

    id: str
    owner: str
    response: bytes
    items: bytes
    label: str | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.response) + len(self.items)


class ResponseStore(Protocol):
    """Keeps stored responses for a while. ``now_s``: monotonic seconds.

    What belongs to another owner is answered like what does not exist.
    """

    def put(self, stored: StoredResponse, now_s: float) -> bool:
        """Keep it; whether it was kept (one that is too large is not)."""
        ...

    def get(self, response_id: str, owner: str, now_s: float) -> StoredResponse | None: ...

    def delete(self, response_id: str, owner: str, now_s: float) -> bool:
        """Whether there was such a response."""
        ...
