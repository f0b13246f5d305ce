"""The simulated domains of the demonstration library; one file each, and one line here."""

from __future__ import annotations

from typing import Final

from ecluse.apps.fraud.references.domains.cards import CARDS
from ecluse.apps.fraud.references.domains.drawing import Domain
from ecluse.apps.fraud.references.domains.insurance_claims import INSURANCE_CLAIMS
from ecluse.apps.fraud.references.domains.loans import LOANS
from ecluse.apps.fraud.references.domains.marketplaces import MARKETPLACES
from ecluse.apps.fraud.references.domains.mobile_money import MOBILE_MONEY
from ecluse.apps.fraud.references.domains.payroll import PAYROLL
from ecluse.apps.fraud.references.domains.signups import SIGNUPS
from ecluse.apps.fraud.references.domains.telecom import TELECOM

DOMAINS: Final[dict[str, Domain]] = {
    domain.name: domain
    for domain in (
        CARDS,
        MOBILE_MONEY,
        SIGNUPS,
        INSURANCE_CLAIMS,
        LOANS,
        TELECOM,
        MARKETPLACES,
        PAYROLL,
    )
}
