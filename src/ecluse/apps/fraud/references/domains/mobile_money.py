"""Mobile money: swapped SIM cards, mules, victims talked into paying, agents who split deposits."""

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
    flag,
    moments,
    money,
    numbered,
    ordered,
    picked,
    put,
    skewed,
)

SIM_SWAP, MULE, TALKED_INTO, SPLITTING = 1, 2, 3, 4

COLUMNS: Final = {
    "id": column("transfer_id | trx_id | id_transfert | OperationId | Réf. transfert | reference"),
    "sender": column(
        "sender_id | snd_msisdn | id_expediteur | PayerAccount | Compte émetteur | from_account"
    ),
    "receiver": column("receiver_id | rcv_msisdn | id_destinataire | PayeeAccount | - | to_account"),
    "time": column(
        "transfer_time | trx_dt | date_transfert | OperationTime | Date du transfert | created_at"
    ),
    "kind": column(
        "transfer_type | trx_typ | type_operation | OperationKind | Nature | type",
        values={
            "transfer": "transfer | TRF | transfert | SendMoney | Envoi | P2P",
            "cash_out": "cash_out | COUT | retrait | Withdrawal | Retrait agent | CASH_OUT",
            "cash_in": "cash_in | CIN | depot | Deposit | Dépôt agent | CASH_IN",
            "bill": "bill_payment | BILL | facture | PayBill | Paiement facture | BILL",
            "airtime": "airtime | AIRT | recharge | TopUp | Crédit téléphone | AIRTIME",
        },
    ),
    "amount": column(
        "amount | trx_amt | montant | Sum | Montant (milliers) | amount_minor",
        units=(1, 1, 655.957, 20, 0.6, 100),
        decimals=2,
    ),
    "before": column(
        "balance_before | bal_bef | solde_avant | OpeningBalance | Solde initial (milliers) | balance_old_minor",
        units=(1, 1, 655.957, 20, 0.6, 100),
        decimals=2,
    ),
    "after": column(
        "balance_after | bal_aft | solde_apres | ClosingBalance | - | balance_new_minor",
        units=(1, 1, 655.957, 20, 0.6, 100),
        decimals=2,
    ),
    "fee": column(
        "fee | fee_amt | frais | Commission | Frais (milliers) | -",
        units=(1, 1, 655.957, 20, 0.6, 1),
        decimals=3,
    ),
    "sim": column(
        "days_since_sim_change | sim_age_d | jours_depuis_changement_sim | HoursSinceSimSwap | Âge de la SIM (jours)"
        " | sim_age_days",
        units=(1, 1, 1, 24, 1, 1),
    ),
    "receiver_age": column(
        "receiver_account_age_days | rcv_age_d | anciennete_destinataire_jours | PayeeAgeDays"
        " | Ancienneté compte bénéficiaire (mois) | to_account_age",
        units=(1, 1, 1, 1, 0.0329, 1),
        decimals=1,
    ),
    "first": column(
        "first_transfer_to_receiver | first_rcv | premier_envoi_destinataire | IsNewPayee | Nouveau bénéficiaire"
        " | new_payee",
        values={"0": "0 | N | non | False | 0 | 0", "1": "1 | Y | oui | True | 1 | 1"},
    ),
    "pin": column(
        "failed_pin_attempts | pin_fail | echecs_code | WrongPinCount | Codes erronés | pin_errors"
    ),
    "hour_count": column(
        "transfers_last_hour | cnt_1h | nb_transferts_1h | OperationsLastHour | Nb transferts dernière heure | -"
    ),
    "agent_count": column(
        "agent_deposits_today | agt_dep_cnt | nb_depots_agent_jour | AgentDepositsToday | - | agent_deposits"
    ),
    "age": column("customer_age | cust_age | age_client | - | Âge du client | age", missing=0.05),
    "region": column("region | - | region | Province | - | -"),
    "call": column("- | - | - | CallInProgress | Appel en cours | -"),
    "fraud": column(
        "is_fraud | fraud_ind | fraude | FraudConfirmed | Signalement confirmé | isFraud",
        values={"0": "0 | N | 0 | no | non | 0", "1": "1 | Y | 1 | yes | oui | 1"},
    ),
}


def _simulate(rng: np.random.Generator, rows: int, cast: Cast, drift: Drift) -> dict[str, Array]:
    weights = {"transfer": 0.36, "cash_out": 0.22, "cash_in": 0.2, "bill": 0.1, "airtime": 0.12}
    kind = picked(rng, rows, weights, drift)
    kind = put(kind, cast.shows(SIM_SWAP), "cash_out")
    kind = put(kind, cast.shows(MULE) | cast.shows(TALKED_INTO), "transfer")
    kind = put(kind, cast.shows(SPLITTING), "cash_in")
    before = money(rng, rows, 90, 1.1, drift)
    share = np.where(kind == "airtime", 0.04, np.where(kind == "bill", 0.15, 0.25))
    amount = before * np.clip(share * skewed(rng, rows, 1, 0.7), 0.005, 0.95)
    amount = np.where(kind == "cash_in", money(rng, rows, 30, 0.9, drift), amount)
    amount = np.where(cast.shows(SIM_SWAP) | cast.shows(MULE), before * rng.uniform(0.9, 1, rows), amount)
    rounded = np.maximum(np.round(before * rng.uniform(0.5, 0.9, rows), -1), 10)
    amount = np.where(cast.shows(TALKED_INTO), np.minimum(rounded, before), amount)
    amount = np.where(cast.shows(SPLITTING), np.exp(drift.level) * rng.uniform(44, 49.9, rows), amount)
    after = np.where(kind == "cash_in", before + amount, np.maximum(before - amount, 0))
    receiver_age = rng.gamma(1.6, 380, rows) + 1
    receiver_age = np.where(cast.shows(MULE), rng.uniform(0, 20, rows), receiver_age)
    receiver_age = np.where(cast.shows(TALKED_INTO), rng.uniform(1, 60, rows), receiver_age)
    sim = np.where(cast.shows(SIM_SWAP), rng.uniform(0, 3, rows), rng.gamma(1.5, 500, rows))
    age = np.clip(rng.normal(34, 12, rows) + np.where(cast.shows(TALKED_INTO), 22, 0), 18, 90)
    count = rng.poisson(0.5 * drift.pace, rows)
    deposits = np.where(kind == "cash_in", rng.poisson(9 * drift.pace, rows), 0)
    return ordered(
        {
            "sender": actors(rng, rows, 6, "7"),
            "receiver": actors(rng, rows, 4, "6"),
            "time": moments(rng, rows, 45, drift, cast.shows(SIM_SWAP)),
            "kind": kind,
            "amount": amount,
            "before": before,
            "after": after,
            "fee": amount * 0.012,
            "sim": sim,
            "receiver_age": receiver_age,
            "first": put(flag(rng, rows, 0.22), cast.shows(MULE) | cast.shows(TALKED_INTO), 1),
            "pin": rng.poisson(0.08, rows) + np.where(cast.shows(SIM_SWAP), rng.integers(1, 4, rows), 0),
            "hour_count": count + np.where(cast.shows(MULE), rng.integers(3, 9, rows), 0),
            "agent_count": deposits + np.where(cast.shows(SPLITTING), rng.integers(15, 45, rows), 0),
            "age": age,
            "region": picked(rng, rows, {"North": 0.4, "Coast": 0.3, "Lakes": 0.2, "Hills": 0.1}, drift),
            "call": put(flag(rng, rows, 0.03), cast.shows(TALKED_INTO), 1),
            "fraud": cast.fraud.astype(np.int64),
        },
        "time",
    ) | {"id": numbered(rng, rows, "M")}


MOBILE_MONEY: Final = Domain(
    "mobile_money",
    ("lumo_wallet", "cowrie_mobile", "argent_mobile_du_fleuve", "savanna_transfer", "portefeuille_sahel",
     "baobab_cash"),
    COLUMNS,
    4,
    _simulate,
)  # fmt: skip
