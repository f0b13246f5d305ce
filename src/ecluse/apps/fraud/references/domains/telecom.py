"""Telephone subscriptions: SIM boxes, calls to premium numbers, contracts that are never paid."""

from __future__ import annotations

from typing import Final

import numpy as np

from ecluse.apps.fraud.references.domains.drawing import (
    Array,
    Cast,
    Domain,
    Drift,
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

SIM_BOX, PREMIUM, UNPAID = 1, 2, 3

COLUMNS: Final = {
    "id": column("subscription_id | sub_id | id_abonnement | LineId | N° de ligne | msisdn_hash"),
    "date": column("bill_date | bill_dt | date_facture | InvoiceDate | Date de facture | period_end"),
    "plan": column(
        "plan | pln | forfait | Tariff | Forfait | product",
        values={
            "prepaid": "prepaid | PRE | prepaye | PayAsYouGo | Prépayé | prepaid",
            "basic": "basic | BAS | essentiel | Basic | Essentiel | S",
            "plus": "plus | PLU | confort | Standard | Confort | M",
            "unlimited": "unlimited | UNL | illimite | Unlimited | Illimité | L",
        },
    ),
    "calls": column("outgoing_calls | out_cls | appels_sortants | CallsMade | Nb appels émis | calls_out"),
    "incoming": column(
        "incoming_calls | in_cls | appels_entrants | CallsReceived | Nb appels reçus | calls_in"
    ),
    "duration": column(
        "mean_call_seconds | avg_dur_s | duree_moyenne_appel_s | AverageCallMinutes | Durée moyenne (min) | mean_dur",
        units=(1, 1, 1, 1 / 60, 1 / 60, 1),
        decimals=2,
    ),
    "numbers": column(
        "distinct_numbers_called | dist_nbr | numeros_distincts | UniqueContacts | Numéros différents | contacts"
    ),
    "international": column(
        "international_minutes | intl_min | minutes_internationales | ForeignMinutes | Minutes étranger | intl_sec",
        units=(1, 1, 1, 1, 1, 60),
        decimals=1,
    ),
    "premium": column(
        "premium_minutes | prm_min | minutes_surtaxees | PremiumRateMinutes | Minutes surtaxées | -",
        decimals=1,
    ),
    "night": column(
        "night_share | ngt_pct | part_nuit | NightShare | Part de nuit (%) | night_share",
        units=(1, 100, 1, 1, 100, 1),
        decimals=3,
    ),
    "texts": column("messages_sent | sms_cnt | sms_envoyes | TextMessages | Nb SMS | sms", missing=0.02),
    "data": column(
        "data_mb | data_mb_tot | donnees_mo | DataGigabytes | Données (Go) | data_mb",
        units=(1, 1, 1, 0.001, 0.001, 1),
        decimals=3,
    ),
    "age": column(
        "contract_age_days | ctr_age_d | anciennete_contrat_jours | TenureMonths | Ancienneté (mois) | tenure_days",
        units=(1, 1, 1, 0.0329, 0.0329, 1),
        decimals=1,
    ),
    "handset": column(
        "handset_value | hs_val | valeur_terminal | PhonePrice | Prix du téléphone (centimes) | -",
        units=(1, 1, 0.92, 0.79, 92, 1),
        decimals=2,
    ),
    "handsets": column("handset_changes | imei_chg | changements_terminal | DeviceSwaps | - | imei_changes"),
    "payment": column(
        "payment_method | pay_mth | mode_paiement | PaymentMethod | Mode de paiement | payment",
        values={
            "debit": "direct_debit | DD | prelevement | DirectDebit | Prélèvement | dd",
            "card": "card | CC | carte | Card | Carte | card",
            "cash": "cash | CSH | especes | Cash | Espèces | cash",
        },
    ),
    "rejected": column("rejected_payments | rej_cnt | paiements_rejetes | FailedPayments | Rejets | bounced"),
    "bill": column(
        "bill_amount | bill_amt | montant_facture | InvoiceTotal | Montant (centimes) | charge",
        units=(1, 1, 0.92, 0.79, 92, 1),
        decimals=2,
    ),
    "cells": column("cells_used | - | cellules_utilisees | - | - | cell_count"),
    "fraud": column(
        "is_fraud | frd_ind | fraude | FraudCase | Fraude | label",
        values={"0": "0 | N | non | No | 0 | ok", "1": "1 | Y | oui | Yes | 1 | fraud"},
    ),
}


def _simulate(rng: np.random.Generator, rows: int, cast: Cast, drift: Drift) -> dict[str, Array]:
    plan = picked(rng, rows, {"prepaid": 0.25, "basic": 0.3, "plus": 0.3, "unlimited": 0.15}, drift)
    plan = put(plan, cast.shows(SIM_BOX), "unlimited")
    calls = rng.poisson(skewed(rng, rows, 70 * drift.pace, 0.7))
    calls = calls + np.where(cast.shows(SIM_BOX), rng.integers(600, 2_500, rows), 0)
    numbers = np.minimum(np.round(calls * rng.beta(3, 6, rows)) + 1, calls + 1)
    numbers = np.where(cast.shows(SIM_BOX), np.round(calls * rng.uniform(0.85, 1, rows)), numbers)
    incoming = rng.poisson(calls * rng.uniform(0.5, 1.2, rows))
    incoming = np.where(cast.shows(SIM_BOX), rng.poisson(2, rows), incoming)
    international = np.where(flag(rng, rows, 0.3) == 1, skewed(rng, rows, 12, 1.1), 0)
    international = international + np.where(cast.shows(UNPAID), rng.uniform(150, 900, rows), 0)
    premium = np.where(flag(rng, rows, 0.06) == 1, skewed(rng, rows, 3, 0.9), 0)
    premium = premium + np.where(cast.shows(PREMIUM), rng.uniform(40, 500, rows), 0)
    night = np.clip(rng.beta(2, 14, rows) + np.where(cast.shows(PREMIUM), 0.5, 0), 0, 1)
    data = np.where(cast.shows(SIM_BOX), rng.uniform(0, 5, rows), skewed(rng, rows, 4_000, 1.2))
    age = np.where(
        cast.shows(UNPAID) | cast.shows(PREMIUM), rng.uniform(2, 60, rows), rng.gamma(1.5, 600, rows) + 2
    )
    bill = money(rng, rows, 24, 0.35, drift) + 0.35 * premium + 0.2 * international
    handset = money(rng, rows, 260, 0.6, drift) * np.where(cast.shows(UNPAID), rng.uniform(2, 4, rows), 1)
    payment = picked(rng, rows, {"debit": 0.6, "card": 0.3, "cash": 0.1}, drift)
    return ordered(
        {
            "date": dates(rng, rows, 180),
            "plan": plan,
            "calls": calls,
            "incoming": incoming,
            "duration": np.where(
                cast.shows(SIM_BOX), rng.uniform(150, 320, rows), skewed(rng, rows, 95, 0.5)
            ),
            "numbers": numbers,
            "international": international,
            "premium": premium,
            "night": night,
            "texts": put(rng.poisson(60, rows), cast.shows(SIM_BOX), 0),
            "data": data,
            "age": age,
            "handset": handset,
            "handsets": rng.poisson(0.1, rows) + np.where(cast.shows(SIM_BOX), rng.integers(1, 5, rows), 0),
            "payment": put(payment, cast.shows(UNPAID), "cash"),
            "rejected": rng.poisson(0.08, rows) + np.where(cast.shows(UNPAID), rng.integers(1, 4, rows), 0),
            "bill": bill,
            "cells": np.where(cast.shows(SIM_BOX), 1, rng.poisson(14, rows) + 1),
            "fraud": cast.fraud.astype(np.int64),
        },
        "date",
    ) | {"id": numbered(rng, rows, "N")}


TELECOM: Final = Domain(
    "telecom",
    ("clearline_mobile", "northwind_telecom", "telecom_du_levant", "orbit_calls", "reseau_mistral", "vox_lagoon"),
    COLUMNS,
    3,
    _simulate,
)  # fmt: skip
