"""Insurance claims: staged collisions, inflated bills, claims soon after the policy began."""

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

STAGED, INFLATED, EARLY = 1, 2, 3

COLUMNS: Final = {
    "id": column("claim_id | clm_no | id_sinistre | ClaimReference | N° de sinistre | claim_ref"),
    "date": column("claim_date | clm_dt | date_declaration | ReportedOn | Date de déclaration | reported"),
    "incident": column("incident_date | loss_dt | date_sinistre | LossDate | Date du sinistre | -"),
    "delay": column("- | - | - | - | - | report_delay_days"),
    "policy_age": column(
        "policy_age_days | pol_age_d | anciennete_contrat_jours | PolicyAgeMonths | Ancienneté contrat (mois)"
        " | policy_days",
        units=(1, 1, 1, 0.0329, 0.0329, 1),
        decimals=1,
    ),
    "amount": column(
        "claim_amount | clm_amt | montant_sinistre | ClaimedTotal | Montant réclamé (k€) | claimed",
        units=(1, 1, 0.92, 0.79, 0.00092, 1),
        decimals=3,
    ),
    "injury": column(
        "injury_amount | inj_amt | montant_corporel | BodilyInjuryPart | - | injury_part",
        units=(1, 1, 0.92, 0.79, 1, 1),
        decimals=2,
    ),
    "premium": column(
        "annual_premium | prem_ann | prime_annuelle | Premium | Prime mensuelle | premium",
        units=(1, 1, 0.92, 0.79, 0.0767, 1),
        decimals=2,
    ),
    "vehicle_value": column(
        "vehicle_value | veh_val | valeur_vehicule | CarValue | Valeur du véhicule (k€) | -",
        units=(1, 1, 0.92, 0.79, 0.00092, 1),
        decimals=3,
    ),
    "vehicle_age": column("vehicle_age | veh_age | age_vehicule | CarAge | Âge du véhicule | car_age"),
    "kind": column(
        "incident_type | loss_typ | type_sinistre | AccidentType | Nature du sinistre | peril",
        values={
            "rear_end": "rear_end_collision | REAR | collision_arriere | RearEnd | Choc arrière | rear-end",
            "collision": "collision | COLL | collision | Crash | Collision | collision",
            "theft": "theft | THFT | vol | Theft | Vol | theft",
            "parked": "parked_car | PARK | stationnement | Parked | Stationnement | parked",
            "glass": "glass | GLAS | bris_de_glace | Windscreen | Bris de glace | glass",
        },
    ),
    "severity": column(
        "severity | sev | gravite | DamageLevel | Gravité | damage",
        values={
            "minor": "minor | 1 | leger | Minor | Légère | low",
            "major": "major | 2 | important | Major | Importante | medium",
            "total": "total_loss | 3 | epave | WriteOff | Perte totale | total",
        },
    ),
    "witnesses": column("witnesses | wit_cnt | nb_temoins | WitnessCount | Nb de témoins | witnesses"),
    "police": column(
        "police_report | pol_rpt | constat_police | PoliceReport | Procès-verbal | police",
        values={"0": "0 | N | non | No | 0 | 0", "1": "1 | Y | oui | Yes | 1 | 1"},
        missing=0.04,
    ),
    "injured": column("people_injured | inj_cnt | nb_blesses | InjuredPersons | Nb de blessés | injured"),
    "network": column(
        "approved_garage | ntwk_grg | garage_agree | NetworkRepairer | Garage agréé | -",
        values={"0": "0 | N | non | No | 0 | 0", "1": "1 | Y | oui | Yes | 1 | 1"},
    ),
    "prior": column("claims_last_3_years | pr_clm_3y | nb_sinistres_3_ans | PriorClaims | - | past_claims"),
    "age": column("insured_age | ins_age | age_assure | DriverAge | Âge de l'assuré | age"),
    "area": column(
        "area | - | - | Area | - | -",
        values={"city": "urban | - | - | Urban | - | -", "country": "rural | - | - | Rural | - | -"},
    ),
    "fraud": column(
        "fraud_found | frd_fnd | fraude_constatee | FraudProven | Fraude constatée | is_fraud",
        values={"0": "0 | N | non | No | 0 | 0", "1": "1 | Y | oui | Yes | 1 | 1"},
    ),
}


def _simulate(rng: np.random.Generator, rows: int, cast: Cast, drift: Drift) -> dict[str, Array]:
    kinds = {"rear_end": 0.2, "collision": 0.35, "theft": 0.1, "parked": 0.2, "glass": 0.15}
    kind = put(
        put(picked(rng, rows, kinds, drift), cast.shows(STAGED), "rear_end"), cast.shows(EARLY), "theft"
    )
    severity = picked(rng, rows, {"minor": 0.6, "major": 0.3, "total": 0.1}, drift)
    severity = put(severity, cast.shows(STAGED) | cast.shows(INFLATED), "minor")
    severity = put(severity, cast.shows(EARLY), "total")
    vehicle_age = rng.poisson(7, rows)
    value = money(rng, rows, 26_000, 0.45, drift) * 0.87**vehicle_age
    share = np.where(severity == "minor", 0.06, np.where(severity == "major", 0.3, 0.85))
    amount = value * share * skewed(rng, rows, 1, 0.4)
    amount = np.where(cast.shows(INFLATED), value * rng.uniform(0.5, 1.1, rows), amount)
    injured = rng.poisson(0.15, rows) + np.where(cast.shows(STAGED), rng.integers(1, 4, rows), 0)
    injury = np.where(injured > 0, money(rng, rows, 1_800, 0.7, drift) * injured, 0)
    injury = injury * np.where(cast.shows(STAGED), rng.uniform(1.5, 4, rows), 1)
    policy_age = rng.gamma(1.5, 700, rows) + 1
    policy_age = np.where(cast.shows(EARLY), rng.uniform(1, 45, rows), policy_age)
    date = dates(rng, rows, 500)
    delay = rng.poisson(4 * drift.pace, rows)
    delay = delay + np.where(cast.shows(EARLY) | cast.shows(INFLATED), rng.integers(8, 40, rows), 0)
    witnesses = put(rng.poisson(1.1, rows), cast.shows(STAGED) | cast.shows(EARLY), 0)
    prior = rng.poisson(0.5 * drift.pace, rows)
    return ordered(
        {
            "date": date,
            "incident": date - (delay * 86_400).astype("timedelta64[s]"),
            "delay": delay,
            "policy_age": policy_age,
            "amount": amount + injury,
            "injury": injury,
            "premium": money(rng, rows, 620, 0.35, drift),
            "vehicle_value": value,
            "vehicle_age": vehicle_age,
            "kind": kind,
            "severity": severity,
            "witnesses": witnesses,
            "police": put(flag(rng, rows, 0.45), cast.shows(EARLY) | cast.shows(INFLATED), 0),
            "injured": injured,
            "network": put(flag(rng, rows, 0.7), cast.shows(INFLATED), 0),
            "prior": prior + np.where(cast.shows(STAGED), rng.integers(1, 4, rows), 0),
            "age": np.clip(rng.normal(45, 15, rows), 18, 90),
            "area": picked(rng, rows, {"city": 0.7, "country": 0.3}, drift),
            "fraud": cast.fraud.astype(np.int64),
        },
        "date",
    ) | {"id": numbered(rng, rows, "S")}


INSURANCE_CLAIMS: Final = Domain(
    "insurance_claims",
    ("oakfield_insurance", "meridian_motor", "mutuelle_des_quais", "castle_cover", "assur_horizon",
     "prevoyance_alize"),
    COLUMNS,
    3,
    _simulate,
)  # fmt: skip
