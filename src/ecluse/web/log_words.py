"""Say what each entry in the log of who did what means: its action, as words in the reader's language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ecluse.accounts import ways
from ecluse.application import ours_first
from ecluse.catalog.tables import AuditEntry
from ecluse.sentences import N_
from ecluse.web.i18n import Words

#: What the core writes down, by the action; of an application, its `logged` says it.
OF_THE_CORE: Final[Mapping[str, str]] = {
    "account.export": N_("everything taken along"),
    "backup.schedule": N_("schedule of backups set"),
    "backup.schedule_end": N_("schedule of backups ended"),
    "job.cancel": N_("job cancelled"),
    "job.finish": N_("job ended early, with its best"),
    "link.create": N_("sign-in link made"),
    "mail.given_up": N_("mail not sent, given up"),
    "mail.invitation": N_("invitation to an organisation sent"),
    "mail.notice": N_("notice of a changed address sent"),
    "mail.reset": N_("link to set a password sent"),
    "mail.sign_up": N_("invitation to make an account sent"),
    "mail.verify": N_("link to confirm an address sent"),
    "migration.migrate": N_("migration begun"),
    "migration.plan": N_("migration planned"),
    "migration.rollback": N_("migration rolled back"),
    "migration.switch": N_("what is read changed over to the destination"),
    "migration.verification_failed": N_("verification of a migration failed"),
    "migration.verify_migration": N_("verification of a migration begun"),
    "model.alias": N_("alias set"),
    "model.alias.remove": N_("alias removed"),
    "model.delete": N_("version deleted"),
    "model.gc": N_("files that no version has removed"),
    "model.link": N_("address to download a file made"),
    "model.publish": N_("version published"),
    "model.sign": N_("version signed"),
    "models.trust": N_("types of a model trusted"),
    "organisation.add": N_("organisation made"),
    "organisation.close": N_("organisation closed, to be ended"),
    "organisation.end": N_("organisation ended"),
    "organisation.hand_over": N_("organisation handed over"),
    "organisation.invite": N_("invitation made"),
    "organisation.join": N_("organisation joined"),
    "organisation.leave": N_("organisation left"),
    "organisation.remove": N_("removed from an organisation"),
    "organisation.reopen": N_("organisation open again"),
    "organisation.role": N_("role in an organisation changed"),
    "organisation.role_kept": N_("role of the last owner kept, against the groups of the provider"),
    "organisation.service_add": N_("service account made"),
    "organisation.service_remove": N_("service account removed"),
    "organisation.service_role": N_("role of a service account changed"),
    "organisation.service_token": N_("token of a service account made"),
    "organisation.service_token_end": N_("token of a service account ended"),
    "organisation.withdraw": N_("invitation taken back"),
    "plan.set": N_("limits of a plan changed"),
    "session.end": N_("browser signed out"),
    "session.end_all": N_("signed out everywhere"),
    "session.end_others": N_("other browsers signed out"),
    "table.hand_over": N_("table handed over"),
    "token.create": N_("token made"),
    "token.expire": N_("token expired"),
    "token.first_use": N_("token used for the first time"),
    "token.revoke": N_("token ended"),
    "token.revoke_all": N_("all tokens ended"),
    "user.add": N_("account made"),
    "user.change_email": N_("address changed"),
    "user.change_password": N_("password changed"),
    "user.disable": N_("disabled"),
    "user.enable": N_("enabled"),
    "user.end_ways_in": N_("what was linked before the address was confirmed taken off"),
    "user.first_step": N_("password right, code asked for"),
    "user.invite": N_("invitation to make an account"),
    "user.invited": N_("account made by an invitation"),
    "user.link_identity": N_("sign-in by a provider linked"),
    "user.plan": N_("plan given or taken"),
    "user.proof_failed": N_("wrong password on the account page"),
    "user.recovery_codes": N_("recovery codes made"),
    "user.remove": N_("account removed"),
    "user.reset_password": N_("password set by a mail"),
    "user.role": N_("role changed"),
    "user.role_kept": N_("role of the last administrator kept, against the groups of the provider"),
    "user.second_factor": N_("second factor set up"),
    "user.second_factor_off": N_("second factor turned off"),
    "user.second_factor_removed": N_("second factor taken off"),
    "user.set_password": N_("password set for them"),
    "user.sign_in_failed": N_("sign-in failed"),
    "user.sign_out": N_("signed out"),
    "user.unlink_identity": N_("sign-in by a provider unlinked"),
    "user.verify_email": N_("address confirmed"),
    "user.withdraw_invitation": N_("invitation taken back"),
}
#: What is done by shares of any kind of things, by how the action ends: the subject says which thing it is.
OF_SHARES: Final[Mapping[str, str]] = {
    "share": N_("shared"),
    "unshare": N_("share taken back"),
    "open_link": N_("opened by a shared link"),
}


def message_of(action: str) -> str | None:
    """Return what an action means, in English; None for one that nothing here writes down any more."""
    own = (application.logged.get(action) for application in ours_first())
    entered = {way.action: way.logged for way in ways.WAYS if way.action}
    named = OF_THE_CORE.get(action) or entered.get(action) or next(filter(None, own), None)
    return named or OF_SHARES.get(action.rpartition(".")[2])


def said_of(entries: Iterable[AuditEntry], say: Words) -> dict[str, str]:
    """Return the words for each action of these entries, by it; an unknown one is called as it is written."""
    actions = {entry.action for entry in entries}
    return {
        action: say._(message) if (message := message_of(action)) else action for action in sorted(actions)
    }
