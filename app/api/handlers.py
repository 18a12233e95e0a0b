"""What becomes of tokens by what happens elsewhere."""

from __future__ import annotations

from app.api.models import Token
from app.facilities import events


@events.react("PersonRemoved")
def end_their_tokens(event: events.Event) -> None:
    """End the tokens of somebody who goes, in the transaction in which they do."""
    Token.end_all_of(event.subject_id)
