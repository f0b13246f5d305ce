"""Write the mails of accounts, in the language of who asks for them."""

from __future__ import annotations

from ecluse.accounts.letters import LINK, Text
from ecluse.catalog.tables import User
from ecluse.web.i18n import Words


def reset(say: Words) -> Text:
    """Write the letter with the link that sets a new password."""
    return _letter(
        say._("Set a new password"),
        say._("Somebody, likely you, asked for a new password at Écluse. Set it within an hour:"),
        LINK,
        say._("If it was not you, do nothing: the password stays as it is."),
    )


def verify(say: Words) -> Text:
    """Write the letter by which an address is shown to be its owner's."""
    return _letter(
        say._("Is this your address?"),
        say._("An account at Écluse was given this address. If it is yours, say so within a day:"),
        LINK,
        say._("If it is not, do nothing."),
    )


def changed(say: Words) -> Text:
    """Write to an address that it is no longer that of its account."""
    return _letter(
        say._("The address of your account was changed"),
        say._("Your account at Écluse has another address now, and this one signs in no longer."),
        say._("If it was not you, tell whoever runs this Écluse at once."),
    )


def invitation(say: Words, by: User, handle: str) -> Text:
    """Write an invitation to an organisation."""
    return _letter(
        say._("Invitation to @%(handle)s", handle=handle),
        say._(
            "%(email)s invites you to the organisation @%(handle)s at Écluse:", email=by.email, handle=handle
        ),
        LINK,
        say._("The link works once. If you do not know the sender, do nothing."),
    )


def sign_up(say: Words, by: User) -> Text:
    """Write an invitation to make an account."""
    return _letter(
        say._("Invitation to Écluse"),
        say._("%(email)s invites you to make an account at Écluse, with this address:", email=by.email),
        LINK,
        say._("The link works once. If you do not know the sender, do nothing."),
    )


def _letter(subject: str, *paragraphs: str) -> Text:
    return Text(subject, "\n\n".join(paragraphs) + "\n")
