"""Loan applications: invented identities, fabricated incomes, rings that apply by the dozen."""

from __future__ import annotations

from typing import Final

import numpy as np

from ecluse.apps.fraud.references.domains.drawing import (
    Array,
    Cast,
    Domain,
    Drift,
    column,
    flag,
    moments,
    money,
    numbered,
    ordered,
    picked,
    put,
    skewed,
)

INVENTED, FABRICATED, RING = 1, 2, 3

COLUMNS: Final = {
    "id": column("application_id | app_no | id_dossier | ApplicationRef | N° de dossier | request_id"),
    "time": column("application_time | app_dt | date_demande | SubmittedAt | Date de la demande | submitted"),
    "amount": column(
        "loan_amount | loan_amt | montant_pret | RequestedAmount | Montant demandé (k€) | principal",
        units=(1, 1, 0.92, 0.79, 0.00092, 1),
        decimals=3,
    ),
    "income": column(
        "annual_income | inc_ann | revenu_annuel | YearlyIncome | Revenu mensuel | monthly_income",
        units=(1, 1, 0.92, 0.79, 0.0767, 0.0833),
        decimals=2,
        missing=0.02,
    ),
    "term": column(
        "term_months | term_m | duree_mois | TermYears | Durée (mois) | tenor",
        units=(1, 1, 1, 1 / 12, 1, 1),
        decimals=1,
    ),
    "purpose": column(
        "purpose | purp | objet_pret | LoanPurpose | Objet | use_of_funds",
        values={
            "car": "car | CAR | voiture | Vehicle | Automobile | car",
            "home": "home_improvement | HOME | travaux | Renovation | Travaux | home",
            "debt": "debt_consolidation | DEBT | rachat_credit | Refinancing | Regroupement | consolidation",
            "other": "other | OTH | autre | Other | Autre | other",
        },
    ),
    "employment": column(
        "employment_years | emp_yrs | anciennete_emploi_annees | YearsEmployed | Ancienneté emploi (mois)"
        " | job_months",
        units=(1, 1, 1, 1, 12, 12),
        decimals=1,
        missing=0.03,
    ),
    "housing": column(
        "housing | hous | logement | HomeOwnership | Logement | -",
        values={
            "rent": "rent | R | locataire | Renting | Locataire | -",
            "own": "own | O | proprietaire | Owner | Propriétaire | -",
            "family": "with_family | F | heberge | WithParents | Hébergé | -",
        },
    ),
    "debt": column(
        "debt_to_income | dti | taux_endettement | DebtRatio | Taux d'endettement (%) | dti_pct",
        units=(1, 1, 1, 1, 100, 100),
        decimals=3,
    ),
    "score": column(
        "credit_score | crd_scr | score_credit | BureauScore | Score | bureau_score", missing=0.04
    ),
    "phone": column(
        "phone_age_days | phn_age_d | anciennete_telephone_jours | PhoneTenureDays | Ancienneté téléphone (mois)"
        " | phone_days",
        units=(1, 1, 1, 1, 0.0329, 1),
        decimals=1,
    ),
    "mail": column(
        "email_age_days | eml_age_d | anciennete_email_jours | EmailTenureDays | - | email_days", decimals=0
    ),
    "inquiries": column(
        "inquiries_last_30_days | inq_30d | nb_demandes_30_jours | RecentInquiries | Demandes récentes"
        " | recent_inquiries"
    ),
    "verified": column(
        "income_verified | inc_ver | revenu_verifie | IncomeProof | Revenu vérifié | -",
        values={"0": "0 | N | non | No | 0 | 0", "1": "1 | Y | oui | Yes | 1 | 1"},
    ),
    "minutes": column(
        "minutes_on_form | form_min | minutes_formulaire | FormSeconds | Temps de saisie (s) | form_seconds",
        units=(1, 1, 1, 60, 60, 60),
        decimals=1,
    ),
    "shared": column(
        "applications_same_device | dev_app_cnt | nb_demandes_appareil | DeviceApplications | Demandes même appareil"
        " | same_device"
    ),
    "distance": column(
        "ip_distance_km | ip_dist | distance_ip_km | IpDistanceMiles | - | ip_km",
        units=(1, 1, 1, 0.621, 1, 1),
        decimals=1,
        missing=0.05,
    ),
    "age": column("applicant_age | app_age | age_demandeur | Age | Âge | age"),
    "dependants": column("- | dpnd | personnes_a_charge | - | - | -"),
    "fraud": column(
        "is_fraud | frd_cd | fraude | FirstPartyFraud | Dossier frauduleux | confirmed_fraud",
        values={"0": "0 | 0 | non | No | 0 | 0", "1": "1 | 1 | oui | Yes | 1 | 1"},
    ),
}


def _simulate(rng: np.random.Generator, rows: int, cast: Cast, drift: Drift) -> dict[str, Array]:
    age = np.clip(rng.normal(41, 13, rows), 18, 78)
    employment = np.minimum(rng.gamma(1.3, 5.5, rows), age - 17)
    employment = np.where(cast.shows(FABRICATED), rng.uniform(0.1, 1.5, rows), employment)
    income = money(rng, rows, 33_000, 0.4, drift) * (1 + 0.012 * employment)
    income = income * np.where(cast.shows(FABRICATED), rng.uniform(1.8, 3.5, rows), 1)
    amount = income * np.clip(skewed(rng, rows, 0.28, 0.6), 0.03, 1.5)
    amount = np.where(
        cast.shows(FABRICATED) | cast.shows(INVENTED), income * rng.uniform(0.7, 1.3, rows), amount
    )
    score = np.clip(rng.normal(660, 75, rows), 320, 850)
    score = np.where(cast.shows(INVENTED), rng.normal(640, 15, rows), score)
    phone, mail = rng.gamma(1.3, 900, rows), rng.gamma(1.4, 1_100, rows)
    inquiries = rng.poisson(1.1 * drift.pace, rows)
    inquiries = inquiries + np.where(cast.shows(INVENTED) | cast.shows(RING), rng.integers(3, 10, rows), 0)
    minutes = np.where(cast.shows(RING), rng.uniform(0.5, 3, rows), skewed(rng, rows, 14, 0.5))
    shared = 1 + rng.poisson(0.1, rows) + np.where(cast.shows(RING), rng.integers(3, 16, rows), 0)
    purposes = {"car": 0.3, "home": 0.27, "debt": 0.25, "other": 0.18}
    housing = picked(rng, rows, {"rent": 0.5, "own": 0.38, "family": 0.12}, drift)
    return ordered(
        {
            "time": moments(rng, rows, 200, drift, cast.shows(RING)),
            "amount": amount,
            "income": income,
            "term": rng.choice([12.0, 24, 36, 48, 60, 72], rows),
            "purpose": put(picked(rng, rows, purposes, drift), cast.shows(RING), "other"),
            "employment": employment,
            "housing": put(housing, cast.shows(INVENTED), "family"),
            "debt": np.clip(rng.beta(2.2, 5, rows) - np.where(cast.shows(FABRICATED), 0.15, 0), 0, 1),
            "score": score,
            "phone": np.where(cast.shows(INVENTED) | cast.shows(RING), rng.uniform(0, 60, rows), phone),
            "mail": np.where(cast.shows(INVENTED) | cast.shows(RING), rng.uniform(0, 40, rows), mail),
            "inquiries": inquiries,
            "verified": put(flag(rng, rows, 0.6), cast.shows(FABRICATED) | cast.shows(INVENTED), 0),
            "minutes": minutes,
            "shared": shared,
            "distance": skewed(rng, rows, 14, 1.1) * np.where(cast.shows(RING), rng.uniform(8, 40, rows), 1),
            "age": np.where(cast.shows(INVENTED), rng.uniform(21, 35, rows), age),
            "dependants": rng.poisson(0.9, rows),
            "fraud": cast.fraud.astype(np.int64),
        },
        "time",
    ) | {"id": numbered(rng, rows, "L")}


LOANS: Final = Domain(
    "loans",
    ("hillside_lending", "quartz_credit", "credit_des_vallees", "brightwater_loans", "pret_facile_ouest",
     "anchor_finance"),
    COLUMNS,
    3,
    _simulate,
)  # fmt: skip
