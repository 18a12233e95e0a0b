"""What people do about people that the audit tells of."""

from __future__ import annotations

from app.facilities.audit import kind

kind("signed_in", "Somebody signed in.", "{actor} signed in from {browser}.")
kind("signed_out", "A browser was signed out by its person.", "{actor} signed out of one browser.")
kind("sessions_ended", "Somebody signed out all their other browsers.", "{actor} signed out all other browsers.")
kind("password_set", "Somebody chose a password; all their sessions ended.", "{subject} chose a new password.")
kind(
    "password_help_sent",
    "A link for a forgotten password was sent by letter.",
    "A link for a new password was sent to {subject}.",
)
kind("person_renamed", "Somebody goes by another name.", "{subject} goes by another name.")
kind("person_invited", "An owner invited somebody.", "{actor} invited {subject} as {role}.")
kind("invitation_sent_again", "An invitation got a new link.", "{actor} invited {subject} once more.")
kind("invitation_withdrawn", "An owner took an invitation back.", "{actor} withdrew the invitation of {subject}.")
kind("person_joined", "Somebody accepted their invitation.", "{subject} accepted the invitation as {role}.")
kind("role_changed", "Somebody was given another role.", "{actor} made {subject}, {before} until then, {after}.")
kind("person_deactivated", "Somebody may sign in no more, until further notice.", "{actor} deactivated {subject}.")
kind("person_reactivated", "Somebody may sign in again.", "{actor} let {subject} sign in again.")
kind("person_removed", "Somebody was removed for good.", "{actor} removed {subject}.")
kind("person_left", "Somebody left by themselves.", "{subject} left the organisation.")
kind(
    "sign_in_failed",
    "Somebody tried to sign in and was refused; rows with the same mark are about the same address.",
    "Somebody tried to sign in as {subject} with a wrong password.",
)
kind("set_up_link_used", "A one-time link was used to choose a password.", "{subject} came in by a one-time link.")
kind(
    "foreign_cookie",
    "A browser brought a sign-in of another organisation, which counts for nothing here.",
    "A browser came with a sign-in that was made for another organisation; it was refused.",
)
kind("preview_looked_at", "Somebody looked at the organisation's past.", "{actor} looked at a past moment.")
