"""What people do about people that the audit tells of."""

from __future__ import annotations

from app.facilities.audit import kind

kind("signed_in", "Somebody signed in.", "{actor} signed in from {browser}.")
kind("signed_out", "A browser was signed out by its person.", "{actor} signed out of one browser.")
kind("sessions_ended", "Somebody signed out all their other browsers.", "{actor} signed out all other browsers.")
kind(
    "device_added",
    "Somebody signed in with a browser that was not known.",
    "{actor} signed in with {browser}, a new one.",
)
kind(
    "device_revoked",
    "Somebody signed one of their browsers out, which is not known any more.",
    "{actor} signed out {browser}.",
)
kind(
    "device_reused",
    "A browser showed a cookie that had been replaced: somebody has a copy. It was signed out and is not known any more.",
    "A copy of the cookie of {subject}'s {browser} was shown; it was signed out.",
)
kind("password_set", "Somebody chose a password; all their sessions ended.", "{subject} chose a new password.")
kind(
    "password_help_sent",
    "A link for a forgotten password was sent by letter.",
    "A link for a new password was sent to {subject}.",
)
kind("factor_added", "Somebody set up a second factor.", "{actor} set up a second factor.")
kind("factor_removed", "Somebody took a second factor of theirs away.", "{actor} removed a second factor.")
kind(
    "recovery_codes_made",
    "Somebody got new recovery codes; those of before count no more.",
    "{actor} got new recovery codes.",
)
kind(
    "recovery_codes_voided",
    "A copy was brought back, whose recovery codes may have been used since: they count no more.",
    "The recovery codes of everybody who had some ({people}) count no more, as they are those of a copy.",
)
kind("recovery_code_used", "A recovery code was used up.", "{actor} used a recovery code; {left} are left.")
kind(
    "second_factor_failed",
    "Somebody who knew the password gave a wrong code.",
    "A wrong code was given for {subject}, after the right password.",
)
kind(
    "factors_reset",
    "The operators took somebody's second factors.",
    "The operators took the second factors of {subject}.",
)
kind("sign_in_link_sent", "A link that stands for the password was sent.", "A sign-in link was sent to {subject}.")
kind("sign_in_link_used", "Somebody used a sign-in link.", "{actor} used a sign-in link.")
kind("sign_in_rules_set", "Somebody said how people sign in here.", "{actor} changed how people sign in.")
kind("person_renamed", "Somebody goes by another name.", "{subject} goes by another name.")
kind(
    "picture_changed",
    "Somebody shows another picture of themselves, or none any more.",
    "{subject} changed their picture.",
)
kind("person_invited", "An owner invited somebody.", "{actor} invited {subject} as {role}.")
kind("invitation_sent_again", "An invitation got a new link.", "{actor} invited {subject} once more.")
kind("invitation_withdrawn", "An owner took an invitation back.", "{actor} withdrew the invitation of {subject}.")
kind("person_joined", "Somebody accepted their invitation.", "{subject} accepted the invitation as {role}.")
kind("role_changed", "Somebody was given another role.", "{actor} made {subject}, {before} until then, {after}.")
kind("role_made", "An owner made a role.", "{actor} made the role {subject}.")
kind("role_redefined", "An owner changed a role.", "{actor} changed the role {subject}.")
kind("role_removed", "An owner removed a role.", "{actor} removed the role {subject}.")
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
kind(
    "support_visit_began",
    "An operator of the platform came in to help, for a reason and a time.",
    "{actor}, who runs the platform, came in: {reason}",
)
kind("support_visit_changed", "An operator on a visit changed something.", "{actor}, on a visit, changed {where}.")
kind(
    "support_visit_ended", "A visit was ended, by its operator or by an owner.", "{actor} ended the visit of {subject}."
)
kind("support_rule_changed", "An owner said what visits may do.", "{actor} lets visits {rule}.")
kind(
    "join_domain_approved", "People of a mail domain may join by themselves.", "{actor} lets people of {subject} join."
)
kind(
    "join_domain_removed",
    "People of a mail domain may join no more.",
    "{actor} lets people of {subject} join no more.",
)
kind(
    "person_joined_by_domain",
    "Somebody with an address of an approved mail domain joined.",
    "{subject} joined, as people of that mail domain may, as {role}.",
)
