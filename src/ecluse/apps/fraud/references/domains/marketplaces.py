"""Listings between private people: goods that do not exist, hijacked sellers, payments led elsewhere."""

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

NO_GOODS, HIJACKED, LED_ELSEWHERE = 1, 2, 3
_CATEGORIES: Final = {
    "phones": 0.16,
    "computers": 0.1,
    "fashion": 0.24,
    "toys": 0.14,
    "furniture": 0.18,
    "bikes": 0.1,
    "watches": 0.08,
}

COLUMNS: Final = {
    "id": column("listing_id | lst_id | id_annonce | AdId | N° annonce | item_id"),
    "seller": column("seller_id | slr_id | id_vendeur | SellerRef | Vendeur | -"),
    "time": column("listed_at | lst_dt | date_mise_en_ligne | PostedOn | Date de publication | posted"),
    "price": column(
        "price | prc | prix | AskingPrice | Prix (centimes) | price_minor",
        units=(1, 1, 0.92, 0.79, 92, 100),
        decimals=2,
    ),
    "ratio": column(
        "price_to_market | prc_idx | rapport_prix_marche | PriceIndex | Prix / marché (%) | price_ratio",
        units=(1, 100, 1, 1, 100, 1),
        decimals=3,
    ),
    "category": column(
        "category | cat | categorie | Department | Rubrique | section",
        values={
            "phones": "phones | PHN | telephones | Phones | Téléphonie | mobile",
            "computers": "computers | CMP | informatique | Computing | Informatique | pc",
            "fashion": "fashion | FSH | mode | Fashion | Mode | clothes",
            "toys": "toys | TOY | jouets | Toys | Jouets | kids",
            "furniture": "furniture | FRN | meubles | HomeAndGarden | Ameublement | home",
            "bikes": "bikes | BIK | velos | Cycling | Vélos | bicycles",
            "watches": "watches | WCH | montres | Watches | Montres | watches",
        },
    ),
    "condition": column(
        "item_condition | cond | etat | Condition | État de l'objet | state",
        values={
            "new": "new | 1 | neuf | New | Neuf | new",
            "good": "good | 2 | bon | Used | Bon état | used",
            "worn": "worn | 3 | usage | Worn | Usagé | worn",
        },
    ),
    "seller_age": column(
        "seller_age_days | slr_age_d | anciennete_vendeur_jours | SellerTenureDays | Ancienneté vendeur (mois)"
        " | account_days",
        units=(1, 1, 1, 1, 0.0329, 1),
        decimals=1,
    ),
    "reviews": column("seller_reviews | rvw_cnt | nb_avis | ReviewCount | Nb avis | reviews"),
    "rating": column(
        "seller_rating | rtg | note_vendeur | StarRating | Note (sur 20) | rating",
        units=(1, 1, 1, 1, 4, 1),
        decimals=2,
        missing=0.1,
    ),
    "idle": column(
        "days_since_last_listing | idle_d | jours_depuis_derniere_annonce | DormantDays | - | inactive_days"
    ),
    "today": column("listings_today | lst_tdy | annonces_du_jour | AdsToday | Annonces du jour | ads_today"),
    "photos": column("photos | pht_cnt | nb_photos | PhotoCount | Nb photos | pictures"),
    "words": column(
        "description_words | dsc_wrd | mots_description | TextLength | Longueur du texte | text_chars",
        units=(1, 1, 1, 6, 6, 6),
    ),
    "contact": column(
        "outside_contact | off_plt | contact_hors_site | ExternalContact | Contact hors site | -",
        values={"0": "0 | N | non | False | 0 | 0", "1": "1 | Y | oui | True | 1 | 1"},
    ),
    "reply": column(
        "reply_minutes | rpl_min | minutes_reponse | ReplySeconds | Délai de réponse (h) | reply_min",
        units=(1, 1, 1, 60, 1 / 60, 1),
        decimals=2,
        missing=0.05,
    ),
    "delivery": column(
        "delivery | dlv | livraison | Shipping | Remise | delivery",
        values={
            "post": "post | PST | envoi | Shipped | Envoi postal | ship",
            "meet": "pickup | PCK | main_propre | Collection | Main propre | pickup",
            "protected": "protected | PRT | protege | Escrow | Paiement protégé | escrow",
        },
    ),
    "bank": column(
        "bank_country_differs | bnk_mm | pays_banque_different | BankMismatch | - | bank_mismatch",
        values={"0": "0 | N | non | False | 0 | 0", "1": "1 | Y | oui | True | 1 | 1"},
    ),
    "views": column("- | vws | - | Views | - | views"),
    "fraud": column(
        "is_scam | scam | arnaque | ScamConfirmed | Annonce frauduleuse | fraud",
        values={"0": "0 | N | non | no | 0 | 0", "1": "1 | Y | oui | yes | 1 | 1"},
    ),
}


def _simulate(rng: np.random.Generator, rows: int, cast: Cast, drift: Drift) -> dict[str, Array]:
    category = picked(rng, rows, _CATEGORIES, drift)
    category = put(category, cast.shows(NO_GOODS) & (flag(rng, rows, 0.7) == 1), "phones")
    level = {"phones": 4.0, "computers": 6.0, "furniture": 2.5, "bikes": 5.0, "watches": 7.0}
    ratio = np.clip(rng.normal(0.95, 0.2, rows), 0.3, 2)
    ratio = np.where(cast.shows(NO_GOODS), rng.uniform(0.2, 0.5, rows), ratio)
    ratio = np.where(cast.shows(HIJACKED), rng.uniform(0.4, 0.7, rows), ratio)
    price = money(rng, rows, 42, 0.6, drift) * np.array([level.get(name, 1.0) for name in category]) * ratio
    seller_age = rng.gamma(1.4, 500, rows) + 1
    seller_age = np.where(
        cast.shows(NO_GOODS) | cast.shows(LED_ELSEWHERE), rng.uniform(0, 25, rows), seller_age
    )
    seller_age = np.where(cast.shows(HIJACKED), rng.uniform(700, 2_500, rows), seller_age)
    reviews = rng.poisson(seller_age * 0.02 * drift.pace)
    idle = np.minimum(skewed(rng, rows, 9, 1.1), seller_age)
    idle = np.where(cast.shows(HIJACKED), rng.uniform(150, 700, rows), idle)
    today = (
        1 + rng.poisson(0.5 * drift.pace, rows) + np.where(cast.shows(HIJACKED), rng.integers(5, 30, rows), 0)
    )
    photos = np.where(cast.shows(NO_GOODS), 1, 1 + rng.poisson(3.2, rows))
    words = skewed(rng, rows, 45, 0.7) * np.where(cast.shows(NO_GOODS), 0.35, 1)
    condition = picked(rng, rows, {"new": 0.2, "good": 0.6, "worn": 0.2}, drift)
    delivery = picked(rng, rows, {"post": 0.4, "meet": 0.3, "protected": 0.3}, drift)
    reply = skewed(rng, rows, 160, 1.1)
    return ordered(
        {
            "seller": actors(rng, rows, 3, "V"),
            "time": moments(rng, rows, 60, drift, cast.shows(HIJACKED)),
            "price": price,
            "ratio": ratio,
            "category": category,
            "condition": put(condition, cast.shows(NO_GOODS), "new"),
            "seller_age": seller_age,
            "reviews": reviews,
            "rating": np.clip(rng.normal(4.4, 0.5, rows), 1, 5),
            "idle": idle,
            "today": today,
            "photos": photos,
            "words": words,
            "contact": put(flag(rng, rows, 0.08), cast.shows(LED_ELSEWHERE) | cast.shows(NO_GOODS), 1),
            "reply": np.where(cast.shows(LED_ELSEWHERE), rng.uniform(0.2, 4, rows), reply),
            "delivery": put(delivery, cast.shows(LED_ELSEWHERE) | cast.shows(NO_GOODS), "post"),
            "bank": put(flag(rng, rows, 0.03), cast.shows(LED_ELSEWHERE) | cast.shows(HIJACKED), 1),
            "views": rng.poisson(skewed(rng, rows, 60, 0.8)),
            "fraud": cast.fraud.astype(np.int64),
        },
        "time",
    ) | {"id": numbered(rng, rows, "A")}


MARKETPLACES: Final = Domain(
    "marketplaces",
    ("second_shelf", "tradeyard", "puce_en_ligne", "bidhaven", "marche_entre_nous", "swapharbour"),
    COLUMNS,
    3,
    _simulate,
)  # fmt: skip
