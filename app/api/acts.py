"""What the audit tells of tokens."""

from __future__ import annotations

from app.facilities.audit import kind

kind("token_made", "Somebody made a token for a program.", "{actor} made the token {subject}, good for: {scopes}.")
kind("token_ended", "Somebody ended a token.", "{actor} ended the token {subject}.")
kind(
    "token_outlived",
    "A token came after its end: it had run out or was ended, its person or role had gone, or the key had changed.",
    "A program came with a token that is good no longer ({handle}); it was refused.",
)
kind(
    "token_forged",
    "Something came as a token that was not made here.",
    "A program came with something that is no token of this organisation; it was refused.",
)
kind(
    "foreign_token",
    "A program brought a token of another organisation, which counts for nothing here.",
    "A program came with a token that was made for another organisation; it was refused.",
)
kind(
    "token_abroad",
    "A token of this organisation was brought to another one, which refused it.",
    "A program brought one of your tokens ({handle}) to another organisation, which refused it. End it if that was not you.",
)
