"""Payroll: employees who do not exist, invented overtime, diverted pay, padded expenses."""

from __future__ import annotations

from typing import Final

import numpy as np

from ecluse.apps.fraud.references.domains.drawing import (
    Array,
    Cast,
    Domain,
    Drift,
    actors,
    column,
    dates,
    flag,
    money,
    numbered,
    ordered,
    picked,
    put,
    skewed,
)

GHOST, OVERTIME, DIVERTED, EXPENSES = 1, 2, 3, 4

COLUMNS: Final = {
    "id": column("payment_id | pay_id | id_paiement | PayslipId | N° bulletin | payment_ref"),
    "employee": column("employee_id | emp_id | id_salarie | StaffNumber | Matricule | worker_id"),
    "date": column("pay_date | pay_dt | date_paie | PaidOn | Date de paie | paid_at"),
    "department": column(
        "department | dept | service | Team | Service | cost_centre",
        values={
            "operations": "operations | OPS | production | Operations | Exploitation | 100",
            "sales": "sales | SLS | commercial | Sales | Ventes | 200",
            "support": "support | SUP | support | Support | Assistance | 300",
            "logistics": "logistics | LOG | logistique | Warehouse | Logistique | 400",
            "office": "administration | ADM | administration | Office | Administration | 500",
        },
    ),
    "gross": column(
        "gross_pay | grs_pay | salaire_brut | GrossSalary | Brut (centimes) | gross",
        units=(1, 1, 0.92, 0.79, 92, 1),
        decimals=2,
    ),
    "net": column(
        "net_pay | net_pay | salaire_net | NetSalary | Net à payer (centimes) | -",
        units=(1, 1, 0.92, 0.79, 92, 1),
        decimals=2,
    ),
    "hours": column(
        "hours_worked | hrs | heures_travaillees | MinutesWorked | Heures | hours",
        units=(1, 1, 1, 60, 1, 1),
        decimals=1,
    ),
    "overtime": column(
        "overtime_hours | ot_hrs | heures_supplementaires | OvertimeMinutes | Heures sup. | overtime",
        units=(1, 1, 1, 60, 1, 1),
        decimals=1,
    ),
    "badge": column(
        "badge_days | bdg_d | jours_badgeage | DaysOnSite | Jours de présence | badge_days", missing=0.02
    ),
    "leave": column("leave_days_this_year | lv_d | jours_conges_annee | LeaveTaken | Congés pris | -"),
    "deductions": column(
        "deductions | dedn | retenues | Deductions | - | deductions",
        units=(1, 1, 0.92, 0.79, 1, 1),
        decimals=2,
    ),
    "expenses": column(
        "expenses | exp_amt | notes_de_frais | ExpenseClaims | Frais (centimes) | expenses",
        units=(1, 1, 0.92, 0.79, 92, 1),
        decimals=2,
    ),
    "receipts": column(
        "expense_receipts | rcpt_cnt | nb_justificatifs | Receipts | Nb justificatifs | receipts"
    ),
    "bank": column(
        "days_since_bank_change | bnk_chg_d | jours_depuis_changement_rib | BankChangeDays | Ancienneté du RIB (jours)"
        " | bank_days"
    ),
    "shared": column(
        "employees_same_account | acct_shr | salaries_meme_compte | SharedAccount | Salariés même RIB | same_account"
    ),
    "tenure": column(
        "tenure_months | ten_m | anciennete_mois | TenureYears | Ancienneté (années) | tenure",
        units=(1, 1, 1, 1 / 12, 1 / 12, 1),
        decimals=2,
    ),
    "contract": column(
        "contract | ctr | type_contrat | ContractType | Contrat | -",
        values={
            "permanent": "permanent | P | CDI | Permanent | CDI | -",
            "fixed": "fixed_term | F | CDD | FixedTerm | CDD | -",
            "agency": "agency | A | interim | Agency | Intérim | -",
        },
    ),
    "approver": column("- | - | id_valideur | ApproverId | - | -"),
    "site": column("site | - | - | - | Établissement | site"),
    "fraud": column(
        "is_fraud | frd | fraude | FraudProven | Fraude | irregular",
        values={"0": "0 | N | non | no | 0 | 0", "1": "1 | Y | oui | yes | 1 | 1"},
    ),
}


def _simulate(rng: np.random.Generator, rows: int, cast: Cast, drift: Drift) -> dict[str, Array]:
    hours = np.clip(rng.normal(148, 14, rows), 20, 190)
    overtime = np.where(flag(rng, rows, 0.3) == 1, rng.gamma(1.5, 4 * drift.pace, rows), 0)
    overtime = overtime + np.where(cast.shows(OVERTIME), rng.uniform(25, 70, rows), 0)
    badge = np.clip(np.round(hours / 7.6 + rng.normal(0, 1, rows)), 0, 26)
    badge = np.where(
        cast.shows(GHOST), 0, np.where(cast.shows(OVERTIME), badge - rng.integers(4, 9, rows), badge)
    )
    hourly = money(rng, rows, 19, 0.32, drift)
    gross = hourly * (hours + 1.25 * overtime)
    deductions = gross * rng.uniform(0.02, 0.08, rows)
    deductions = np.where(cast.shows(GHOST), 0, deductions)
    leave = put(rng.poisson(11, rows), cast.shows(GHOST), 0)
    expenses = np.where(flag(rng, rows, 0.35) == 1, money(rng, rows, 85, 0.8, drift), 0)
    padded = np.round(money(rng, rows, 600, 0.4, drift), -1)
    expenses = np.where(cast.shows(EXPENSES), padded, expenses)
    receipts = np.where(expenses > 0, 1 + rng.poisson(2.5, rows), 0)
    bank = np.where(
        cast.shows(DIVERTED) | cast.shows(GHOST), rng.uniform(0, 12, rows), rng.gamma(1.6, 550, rows)
    )
    shared = 1 + flag(rng, rows, 0.02)
    shared = shared + np.where(cast.shows(GHOST) | cast.shows(DIVERTED), rng.integers(1, 5, rows), 0)
    tenure = np.where(cast.shows(GHOST), rng.uniform(1, 10, rows), rng.gamma(1.4, 42, rows) + 1)
    contract = picked(rng, rows, {"permanent": 0.7, "fixed": 0.2, "agency": 0.1}, drift)
    departments = {"operations": 0.35, "sales": 0.2, "support": 0.15, "logistics": 0.2, "office": 0.1}
    return ordered(
        {
            "employee": actors(rng, rows, 8, "E"),
            "date": dates(rng, rows, 12) + (rng.integers(0, 8, rows) * 30 * 86_400).astype("timedelta64[s]"),
            "department": put(picked(rng, rows, departments, drift), cast.shows(OVERTIME), "logistics"),
            "gross": gross,
            "net": gross * 0.78 - deductions,
            "hours": hours,
            "overtime": overtime,
            "badge": np.maximum(badge, 0),
            "leave": leave,
            "deductions": deductions,
            "expenses": expenses,
            "receipts": put(receipts, cast.shows(EXPENSES), 0),
            "bank": bank,
            "shared": shared,
            "tenure": tenure,
            "contract": put(contract, cast.shows(GHOST), "agency"),
            "approver": actors(rng, rows, 150, "R"),
            "site": rng.integers(1, 9, rows) + np.round(skewed(rng, rows, 0.1, 0.1)),
            "fraud": cast.fraud.astype(np.int64),
        },
        "date",
    ) | {"id": numbered(rng, rows, "P")}


PAYROLL: Final = Domain(
    "payroll",
    ("ledgerline_payroll", "stonebridge_pay", "paie_services_nord", "brookside_hr", "gestion_paie_atlantique",
     "solde_et_associes"),
    COLUMNS,
    4,
    _simulate,
)  # fmt: skip
