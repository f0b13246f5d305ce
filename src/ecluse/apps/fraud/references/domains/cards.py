"""Card payments: testing of stolen numbers, stolen cards, taken-over accounts, bust-outs."""

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

TESTING, STOLEN, TAKEN_OVER, BUST_OUT = 1, 2, 3, 4
_CATEGORIES: Final = {
    "groceries": 0.27,
    "restaurant": 0.19,
    "fuel": 0.11,
    "clothing": 0.1,
    "electronics": 0.08,
    "travel": 0.06,
    "jewellery": 0.03,
    "gift_cards": 0.03,
    "health": 0.08,
    "digital": 0.05,
}

COLUMNS: Final = {
    "id": column("transaction_id | tx_id | id_operation | TransactionRef | N° opération | txn_no"),
    "card": column("card_id | card_no | id_carte | CardToken | N° carte | -"),
    "time": column(
        "transaction_time | tx_dt | date_operation | PurchaseTimestamp | Date et heure | txn_datetime"
    ),
    "amount": column(
        "transaction_amount | tx_amt | montant_operation | PurchaseValue | Montant (centimes) | txn_amount",
        units=(1, 1, 0.92, 1.27, 92, 1),
        decimals=2,
    ),
    "category": column(
        "merchant_category | mcc_grp | categorie_commercant | ShopType | Activité du commerce | merch_cat",
        values={
            "groceries": "groceries | GROC | alimentation | Supermarket | Courses alimentaires | grocery",
            "restaurant": "restaurant | REST | restaurant | Dining | Restauration | restaurants",
            "fuel": "fuel | FUEL | carburant | PetrolStation | Station-service | gas",
            "clothing": "clothing | CLTH | vetements | Apparel | Habillement | clothes",
            "electronics": "electronics | ELEC | electronique | Electronics | Électronique | electronics",
            "travel": "travel | TRVL | voyage | TravelAgency | Voyages | travel",
            "jewellery": "jewellery | JWL | bijouterie | Jeweller | Bijoux | jewelry",
            "gift_cards": "gift_cards | GIFT | cartes_cadeaux | GiftCards | Cartes cadeaux | giftcard",
            "health": "health | HLTH | sante | Pharmacy | Santé | health",
            "digital": "digital | DIGI | numerique | DigitalGoods | Numérique | digital",
        },
    ),
    "channel": column(
        "channel | chan | canal | SalesChannel | Canal de paiement | entry_mode",
        values={
            "store": "in_store | POS | magasin | Store | TPE | chip",
            "web": "web | ECOM | internet | Online | Vente à distance | web",
            "app": "app | MOB | application | MobileApp | Mobile | wallet",
        },
    ),
    "abroad": column(
        "foreign_country | frgn_flg | a_l_etranger | IsAbroad | Hors de France | -",
        values={"0": "0 | N | non | False | 0 | 0", "1": "1 | Y | oui | True | 1 | 1"},
    ),
    "distance": column(
        "distance_from_home_km | dist_home | distance_domicile_km | DistanceFromHome | - | km_from_home",
        units=(1, 0.621, 1, 0.621, 1, 1),
        decimals=1,
        missing=0.02,
    ),
    "card_age": column(
        "card_age_days | card_age | anciennete_carte_jours | CardAgeMonths | Ancienneté carte (mois) | card_age_d",
        units=(1, 1, 1, 0.0329, 0.0329, 1),
        decimals=1,
    ),
    "gap": column(
        "minutes_since_last_transaction | mins_since_prev | delai_depuis_derniere_operation | SecondsSincePrevious"
        " | Délai précédent (s) | min_since_last",
        units=(1, 1, 1, 60, 60, 1),
        decimals=1,
    ),
    "count": column(
        "transactions_last_24h | cnt_24h | nb_operations_24h | PurchasesLastDay | Nb opérations 24 h | n_txn_24h"
    ),
    "known": column(
        "known_device | dev_known | appareil_connu | DeviceSeenBefore | - | device_known",
        values={"0": "0 | N | non | False | 0 | 0", "1": "1 | Y | oui | True | 1 | 1"},
    ),
    "pin": column("pin_verified | pin_ok | code_saisi | - | Code confidentiel saisi | pin"),
    "used": column(
        "credit_limit_used | util_pct | part_du_plafond | LimitUsage | Plafond utilisé (%) | -",
        units=(1, 100, 1, 1, 100, 1),
        decimals=3,
    ),
    "age": column(
        "cardholder_age | cust_age | age_du_porteur | - | Âge du porteur | customer_age", missing=0.03
    ),
    "tier": column("- | - | - | LoyaltyTier | - | -"),
    "branch": column("- | branch_cd | - | - | Agence | -"),
    "fraud": column(
        "is_fraud | fraud_flg | fraude | Class | Fraude avérée | label",
        values={
            "0": "0 | N | non | 0 | 0 | legit",
            "1": "1 | Y | oui | 1 | 1 | fraud",
        },
    ),
}


def _simulate(rng: np.random.Generator, rows: int, cast: Cast, drift: Drift) -> dict[str, Array]:
    testing, stolen, taken_over, bust = (cast.shows(t) for t in (TESTING, STOLEN, TAKEN_OVER, BUST_OUT))
    category = picked(rng, rows, _CATEGORIES, drift)
    category = put(category, cast.shows(STOLEN), "electronics")
    category = put(category, cast.shows(STOLEN) & flag(rng, rows, 0.4).astype(bool), "jewellery")
    category = put(category, cast.shows(TAKEN_OVER), "gift_cards")
    category = put(category, cast.shows(TESTING), "digital")
    channel = picked(rng, rows, {"store": 0.62, "web": 0.23, "app": 0.15}, drift)
    channel = put(put(channel, cast.shows(TESTING) | taken_over, "web"), stolen, "store")
    factor = {"electronics": 5.0, "travel": 7.0, "jewellery": 6.0, "digital": 0.4, "gift_cards": 1.5}
    amount = money(rng, rows, 28, 0.8, drift) * np.array([factor.get(level, 1.0) for level in category])
    amount = np.where(testing, rng.uniform(0.2, 2.5, rows), amount)
    amount = amount * np.where(cast.shows(STOLEN), rng.uniform(1.5, 4, rows), 1)
    amount = amount * np.where(cast.shows(TAKEN_OVER), rng.uniform(2, 6, rows), 1)
    amount = amount * np.where(bust, rng.uniform(4, 9, rows), 1)
    abroad = flag(rng, rows, 0.06)
    distance = skewed(rng, rows, 9, 1.2) * np.where(abroad == 1, 60, 1)
    distance = distance * np.where(cast.shows(STOLEN), rng.uniform(6, 25, rows), 1)
    card_age = rng.gamma(1.8, 420, rows) + 1
    card_age = np.where(cast.shows(BUST_OUT), rng.uniform(5, 90, rows), card_age)
    gap = skewed(rng, rows, 700, 1.3)
    gap = np.where(cast.shows(TESTING) | cast.shows(STOLEN), rng.uniform(0.3, 20, rows), gap)
    count = rng.poisson(1.6 * drift.pace, rows) + 1
    count = count + np.where(cast.shows(TESTING) | cast.shows(BUST_OUT), rng.integers(4, 14, rows), 0)
    known = flag(rng, rows, 0.93)
    pin = np.where(channel == "store", flag(rng, rows, 0.82), 0)
    used = np.clip(rng.beta(1.5, 5, rows) + np.where(cast.shows(BUST_OUT), 0.5, 0), 0, 1)
    return ordered(
        {
            "card": actors(rng, rows, 9, "C"),
            "time": moments(rng, rows, 75, drift, cast.shows(STOLEN) | cast.shows(TAKEN_OVER)),
            "amount": amount,
            "category": category,
            "channel": channel,
            "abroad": put(abroad, cast.shows(TAKEN_OVER), 1),
            "distance": distance,
            "card_age": card_age,
            "gap": gap,
            "count": count,
            "known": put(known, cast.shows(TAKEN_OVER) | cast.shows(TESTING), 0),
            "pin": put(pin, cast.shows(STOLEN), 0),
            "used": used,
            "age": np.clip(rng.normal(44, 16, rows), 18, 92),
            "tier": picked(rng, rows, {"Silver": 0.6, "Gold": 0.3, "Platinum": 0.1}, drift),
            "branch": rng.integers(100, 140, rows),
            "fraud": cast.fraud.astype(np.int64),
        },
        "time",
    ) | {"id": numbered(rng, rows, "T")}


CARDS: Final = Domain(
    "cards",
    ("harbour_bank_cards", "kestrel_cards", "banque_du_canal", "marlowe_pay", "credit_riverain", "tamarin_bank"),
    COLUMNS,
    4,
    _simulate,
)  # fmt: skip
