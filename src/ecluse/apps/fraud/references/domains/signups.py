"""E-commerce sign-ups: farmed accounts, stolen payment details, abused vouchers."""

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

FARM, STOLEN, VOUCHER = 1, 2, 3

COLUMNS: Final = {
    "id": column("user_id | usr_id | id_client | AccountId | N° client | member_no"),
    "time": column("signup_time | reg_dt | date_inscription | RegisteredAt | Date d'inscription | joined"),
    "purchase": column(
        "first_purchase_time | first_ord_dt | date_premier_achat | FirstOrderAt | - | first_order"
    ),
    "gap": column(
        "- | mins_to_ord | - | - | Délai avant commande (h) | -", units=(1, 1, 1, 1, 1 / 60, 1), decimals=2
    ),
    "amount": column(
        "purchase_value | ord_amt | montant_achat | BasketTotal | Montant panier (centimes) | order_cents",
        units=(1, 1, 0.92, 0.79, 92, 100),
        decimals=2,
    ),
    "items": column("items | itm_cnt | nb_articles | BasketItems | Nb articles | item_count"),
    "source": column(
        "traffic_source | src | origine_visite | AcquisitionChannel | Provenance | utm_source",
        values={
            "search": "search | SEO | recherche | Organic | Moteur de recherche | google",
            "ads": "ads | ADS | publicite | PaidAds | Publicité | ads",
            "direct": "direct | DIR | direct | Direct | Accès direct | direct",
            "partner": "partner | AFF | partenaire | Affiliate | Partenaire | affiliate",
        },
    ),
    "browser": column(
        "browser | brwsr | navigateur | UserAgent | Navigateur | -",
        values={
            "chrome": "Chrome | CHR | chrome | Chrome | Chrome | -",
            "safari": "Safari | SAF | safari | Safari | Safari | -",
            "firefox": "Firefox | FFX | firefox | Firefox | Firefox | -",
            "other": "Other | OTH | autre | Unknown | Autre | -",
        },
    ),
    "devices": column(
        "accounts_on_device | dev_acct_cnt | nb_comptes_appareil | AccountsPerDevice | Comptes par appareil"
        " | device_accounts"
    ),
    "addresses": column(
        "accounts_on_ip | ip_acct_cnt | nb_comptes_ip | AccountsPerIp | Comptes par adresse IP | ip_accounts"
    ),
    "mismatch": column(
        "ip_country_differs | ip_ctry_mm | pays_ip_different | GeoMismatch | Pays IP différent | geo_mismatch",
        values={"0": "0 | N | non | False | 0 | 0", "1": "1 | Y | oui | True | 1 | 1"},
    ),
    "shipping": column(
        "shipping_differs_from_billing | ship_bill_mm | livraison_differente | ShipToOther | Livraison ≠ facturation"
        " | -",
        values={"0": "0 | N | non | False | 0 | 0", "1": "1 | Y | oui | True | 1 | 1"},
    ),
    "digits": column("digits_in_email | eml_dig | chiffres_dans_email | EmailDigits | - | email_digits"),
    "mail": column(
        "email_provider | eml_typ | type_email | MailProvider | Fournisseur e-mail | email_type",
        values={
            "webmail": "webmail | WEB | webmail | Freemail | Messagerie gratuite | free",
            "company": "company | CORP | entreprise | Business | Professionnelle | corporate",
            "disposable": "disposable | DISP | jetable | Throwaway | Jetable | temp",
        },
    ),
    "voucher": column(
        "voucher_share | vchr_pct | part_bon_reduction | CouponShare | Part remise (%) | promo_share",
        units=(1, 100, 1, 1, 100, 1),
        decimals=3,
    ),
    "payment": column(
        "payment_method | pay_mth | moyen_paiement | PaymentType | Moyen de paiement | tender",
        values={
            "card": "card | CC | carte | CreditCard | Carte bancaire | card",
            "wallet": "wallet | WLT | portefeuille | EWallet | Portefeuille | wallet",
            "invoice": "invoice | INV | facture | PayLater | Sur facture | invoice",
            "prepaid": "prepaid | PPD | prepayee | Prepaid | Carte prépayée | prepaid",
        },
    ),
    "age": column("age | cust_age | age | CustomerAge | - | age", missing=0.08),
    "newsletter": column("- | - | abonne_lettre | - | Lettre d'information | -"),
    "fraud": column(
        "is_fraud | frd | fraude | FraudLabel | Fraude | chargeback",
        values={"0": "0 | 0 | non | legit | 0 | 0", "1": "1 | 1 | oui | fraud | 1 | 1"},
    ),
}


def _simulate(rng: np.random.Generator, rows: int, cast: Cast, drift: Drift) -> dict[str, Array]:
    time = moments(rng, rows, 120, drift, cast.shows(FARM))
    gap = skewed(rng, rows, 2_600, 1.6)
    gap = np.where(cast.shows(FARM), rng.uniform(0.05, 3, rows), gap)
    gap = np.where(cast.shows(STOLEN), rng.uniform(1, 40, rows), gap)
    amount = money(rng, rows, 46, 0.7, drift)
    amount = amount * np.where(cast.shows(STOLEN), rng.uniform(2.5, 6, rows), 1)
    amount = amount * np.where(cast.shows(VOUCHER), rng.uniform(0.2, 0.5, rows), 1)
    devices = 1 + rng.poisson(0.15 * drift.pace, rows)
    devices = devices + np.where(cast.shows(FARM), rng.integers(3, 15, rows), 0)
    addresses = 1 + rng.poisson(0.35 * drift.pace, rows)
    addresses = addresses + np.where(cast.shows(FARM) | cast.shows(VOUCHER), rng.integers(3, 18, rows), 0)
    mail = picked(rng, rows, {"webmail": 0.78, "company": 0.2, "disposable": 0.02}, drift)
    mail = put(mail, cast.shows(FARM) | cast.shows(VOUCHER), "disposable")
    payment = picked(rng, rows, {"card": 0.6, "wallet": 0.25, "invoice": 0.1, "prepaid": 0.05}, drift)
    payment = put(payment, cast.shows(FARM), "prepaid")
    voucher = np.where(flag(rng, rows, 0.2) == 1, rng.beta(2, 6, rows), 0)
    digits = rng.poisson(0.9, rows) + np.where(cast.shows(VOUCHER), rng.integers(3, 7, rows), 0)
    source = picked(rng, rows, {"search": 0.4, "ads": 0.3, "direct": 0.2, "partner": 0.1}, drift)
    browsers = {"chrome": 0.5, "safari": 0.27, "firefox": 0.15, "other": 0.08}
    return ordered(
        {
            "time": time,
            "purchase": time + (gap * 60).astype("timedelta64[s]"),
            "gap": gap,
            "amount": amount,
            "items": 1 + rng.poisson(1.6, rows) + np.where(cast.shows(STOLEN), rng.integers(1, 5, rows), 0),
            "source": put(source, cast.shows(VOUCHER), "partner"),
            "browser": put(picked(rng, rows, browsers, drift), cast.shows(FARM), "other"),
            "devices": devices,
            "addresses": addresses,
            "mismatch": put(flag(rng, rows, 0.05), cast.shows(STOLEN), 1),
            "shipping": put(flag(rng, rows, 0.12), cast.shows(STOLEN), 1),
            "digits": digits,
            "mail": mail,
            "voucher": np.where(cast.shows(VOUCHER), rng.uniform(0.6, 1, rows), voucher),
            "payment": put(payment, cast.shows(STOLEN), "card"),
            "age": np.clip(rng.normal(37, 12, rows), 18, 80),
            "newsletter": flag(rng, rows, 0.3),
            "fraud": cast.fraud.astype(np.int64),
        },
        "time",
    ) | {"id": numbered(rng, rows, "U")}


SIGNUPS: Final = Domain(
    "signups",
    ("parcel_lane", "corner_market_online", "boutique_tilleul", "fernway_shop", "maison_velours",
     "pebble_store"),
    COLUMNS,
    3,
    _simulate,
)  # fmt: skip
