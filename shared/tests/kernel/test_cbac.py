import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from quill_shared.kernel import cbac
from quill_shared.kernel.cbac import (
    CatalogueError,
    RiskLevel,
    UnknownBaseProfessionError,
    UnknownCompetencyError,
    UnknownIdError,
    catalogue,
    final_competencies,
    load_catalogue,
)
from quill_shared.kernel.permissions import SystemPermission

professions = st.sampled_from(sorted(catalogue().base_professions))
competencies = st.sets(st.sampled_from(sorted(catalogue().competencies)))
unknown_ids = st.text(max_size=30).filter(lambda text: text not in catalogue().competencies)

# Who needs which register, for how long it is audited and whether under supervision, stated a second
# time: a slip in the YAML must not pass unnoticed.
COMPETENCIES = """
prescribe_non_controlled           medium GMC,NMC,GPhC      2555
prescribe_controlled_schedule_2    high   GMC               2555
prescribe_controlled_schedule_3_4_5 medium GMC,NMC          2555
certify_death                      high   GMC               2555
certify_cremation                  high   GMC               2555
certify_fitness_to_work            low    GMC,NMC           730
certify_fitness_to_drive           medium GMC               2555
perform_venepuncture               low    -                 365
perform_cannulation                low    -                 365
perform_lumbar_puncture            high   GMC               2555 supervised
perform_chest_drain                high   GMC               2555 supervised
perform_advanced_airway            high   GMC               2555 supervised
discharge_without_review           high   GMC               2555
admit_patient                      medium GMC               2555
refer_specialty                    low    GMC,NMC           730
take_informed_consent              medium GMC,NMC           2555
assess_mental_capacity             high   GMC               2555
apply_deprivation_of_liberty       high   GMC               2555
request_plain_xray                 low    -                 730
request_ct_scan                    medium GMC               730
request_mri_scan                   low    GMC               730
access_patient_records             low    -                 2555
modify_patient_records             medium GMC,NMC,GPhC,HCPC 2555
access_clinic_admin                low    -                 730
approve_clinical_letters           medium GMC               2555
manage_users                       high   -                 2555
manage_diabetes                    medium GMC               2555
manage_anticoagulation             high   GMC               2555
interpret_ecg                      high   GMC               2555
"""

# The medical grades build on one another; what each adds to the one before.
GRADES = {
    "foundation_year_2": (
        "foundation_year_1",
        "request_ct_scan request_mri_scan admit_patient prescribe_controlled_schedule_3_4_5 certify_death",
    ),
    "specialty_trainee_1_2": (
        "foundation_year_2",
        "assess_mental_capacity certify_fitness_to_drive interpret_ecg",
    ),
    "specialty_trainee_3_plus": (
        "specialty_trainee_1_2",
        "perform_lumbar_puncture discharge_without_review prescribe_controlled_schedule_2 "
        "approve_clinical_letters manage_diabetes manage_anticoagulation",
    ),
    "consultant": (
        "specialty_trainee_3_plus",
        "perform_chest_drain perform_advanced_airway apply_deprivation_of_liberty certify_cremation",
    ),
}

PROFESSIONS = {
    "patient": "access_patient_records",
    "foundation_year_1": "access_patient_records modify_patient_records perform_venepuncture "
    "perform_cannulation request_plain_xray take_informed_consent refer_specialty "
    "prescribe_non_controlled certify_fitness_to_work",
    "general_practitioner": "access_patient_records modify_patient_records perform_venepuncture "
    "perform_cannulation request_plain_xray request_ct_scan request_mri_scan take_informed_consent "
    "assess_mental_capacity refer_specialty prescribe_non_controlled prescribe_controlled_schedule_2 "
    "prescribe_controlled_schedule_3_4_5 certify_fitness_to_work certify_death certify_fitness_to_drive "
    "approve_clinical_letters interpret_ecg",
    "registered_nurse": "access_patient_records modify_patient_records perform_venepuncture "
    "perform_cannulation take_informed_consent refer_specialty certify_fitness_to_work",
    "advanced_nurse_practitioner": "access_patient_records modify_patient_records perform_venepuncture "
    "perform_cannulation request_plain_xray take_informed_consent assess_mental_capacity refer_specialty "
    "prescribe_non_controlled prescribe_controlled_schedule_3_4_5 certify_fitness_to_work "
    "approve_clinical_letters",
    "healthcare_assistant": "access_patient_records perform_venepuncture",
    "pharmacist": "access_patient_records modify_patient_records prescribe_non_controlled "
    "prescribe_controlled_schedule_3_4_5 certify_fitness_to_work",
    "pharmacy_technician": "access_patient_records",
    "physiotherapist": "access_patient_records modify_patient_records request_plain_xray "
    "take_informed_consent refer_specialty certify_fitness_to_work",
    "occupational_therapist": "access_patient_records modify_patient_records take_informed_consent "
    "refer_specialty",
    "paramedic": "access_patient_records modify_patient_records perform_venepuncture perform_cannulation "
    "take_informed_consent refer_specialty prescribe_non_controlled certify_fitness_to_work",
    "medical_secretary": "access_patient_records access_clinic_admin",
    "receptionist": "access_clinic_admin",
    "clinic_manager": "access_patient_records access_clinic_admin manage_users",
    "system_administrator": "access_patient_records access_clinic_admin manage_users",
    "learner": "view_teaching_cases",
    "educator": "view_teaching_cases manage_teaching_content view_teaching_analytics",
}


def base(profession: str) -> set[str]:
    return set(catalogue().base_professions[profession].base_competencies)


@pytest.mark.parametrize("row", COMPETENCIES.strip().splitlines(), ids=lambda row: row.split()[0])
def test_a_competency_is_as_agreed(row: str) -> None:
    id_, risk, registration, days, *supervised = row.split()
    competency = catalogue().competencies[id_]
    assert competency.risk_level == risk
    assert ",".join(competency.registration_type) == registration.replace("-", "")
    assert competency.requires_registration == (registration != "-")
    assert competency.audit_retention_days == int(days)
    assert competency.requires_supervision == bool(supervised)


def test_the_catalogue_holds_exactly_the_agreed_competencies_and_three_for_teaching() -> None:
    agreed = {row.split()[0] for row in COMPETENCIES.strip().splitlines()}
    teaching = {"view_teaching_cases", "manage_teaching_content", "view_teaching_analytics"}
    assert set(catalogue().competencies) == agreed | teaching
    assert len(catalogue().competencies) == 32


def test_only_certifying_for_cremation_asks_for_years_of_experience() -> None:
    years = {c.id: c.minimum_experience_years for c in catalogue().competencies.values()}
    assert {id_: n for id_, n in years.items() if n is not None} == {"certify_cremation": 5}


def test_every_high_risk_clinical_competency_is_audited_for_seven_years() -> None:
    high = [c for c in catalogue().competencies.values() if c.risk_level is RiskLevel.HIGH]
    assert high
    assert {c.audit_retention_days for c in high} == {2555}


@pytest.mark.parametrize("profession", PROFESSIONS)
def test_a_profession_comes_with_the_agreed_competencies(profession: str) -> None:
    assert base(profession) == set(PROFESSIONS[profession].split())


@pytest.mark.parametrize("grade", GRADES)
def test_a_medical_grade_builds_on_the_one_before(grade: str) -> None:
    junior, adds = GRADES[grade]
    assert base(grade) == base(junior) | set(adds.split())
    assert not base(junior) & set(adds.split())


def test_the_catalogue_holds_exactly_the_agreed_professions() -> None:
    assert set(catalogue().base_professions) == PROFESSIONS.keys() | GRADES.keys()
    assert len(catalogue().base_professions) == 21


def test_a_profession_proposes_the_agreed_permission() -> None:
    proposed = {p.id: p.default_system_permission for p in catalogue().base_professions.values()}
    assert {id_ for id_, perm in proposed.items() if perm is SystemPermission.PATIENT} == {
        "patient",
        "learner",
    }
    assert {id_ for id_, perm in proposed.items() if perm is SystemPermission.ADMIN} == {
        "system_administrator"
    }
    assert set(proposed.values()) == {
        SystemPermission.PATIENT,
        SystemPermission.STAFF,
        SystemPermission.ADMIN,
    }


def test_the_uk_registers_each_regulated_profession_with_one_body() -> None:
    bodies = {b.id: set(b.professions) for b in catalogue().jurisdictions["uk"].registration_bodies}
    assert bodies == {
        "GMC": {"foundation_year_1", "general_practitioner", *GRADES},
        "NMC": {"registered_nurse", "advanced_nurse_practitioner"},
        "GPhC": {"pharmacist", "pharmacy_technician"},
        "HCPC": {"physiotherapist", "occupational_therapist", "paramedic"},
    }


@pytest.mark.parametrize("jurisdiction", ["uk", "us", "eu", "au"])
def test_every_jurisdiction_covers_all_bodies_and_both_controlled_competencies(jurisdiction: str) -> None:
    found = catalogue().jurisdictions[jurisdiction]
    covered = {body.equivalent_to or body.id for body in found.registration_bodies}
    assert covered == {"GMC", "NMC", "GPhC", "HCPC"}
    assert {"prescribe_controlled_schedule_2", "prescribe_controlled_schedule_3_4_5"} <= {
        schedule.competency for schedule in found.drug_schedules
    }


def test_the_catalogue_is_loaded_once_and_cannot_be_changed() -> None:
    assert catalogue() is catalogue()
    with pytest.raises(TypeError):
        catalogue().competencies["x"] = catalogue().competencies["manage_users"]  # type: ignore[index]
    with pytest.raises(ValueError, match="frozen"):
        catalogue().competencies["manage_users"].risk_level = RiskLevel.LOW  # type: ignore[misc]


@given(professions, competencies, competencies)
def test_final_is_base_and_additional_without_removed(
    profession: str, additional: set[str], removed: set[str]
) -> None:
    final = final_competencies(profession, additional, removed)
    assert set(final) == (base(profession) | additional) - removed
    assert list(final) == sorted(set(final))


@given(professions, competencies)
def test_a_removal_wins_over_an_addition(profession: str, ids: set[str]) -> None:
    assert not set(final_competencies(profession, ids, ids)) & ids


@given(professions, competencies, competencies)
def test_repeating_an_id_changes_nothing(profession: str, additional: set[str], removed: set[str]) -> None:
    twice = final_competencies(profession, [*additional, *additional], [*removed, *removed])
    assert twice == final_competencies(profession, additional, removed)


@given(professions, competencies, unknown_ids)
def test_an_unknown_competency_is_refused_by_name(profession: str, known: set[str], unknown: str) -> None:
    for arguments in ((known | {unknown}, known), (known, known | {unknown})):
        with pytest.raises(UnknownCompetencyError) as caught:
            final_competencies(profession, *arguments)
        assert caught.value.id == unknown
        assert unknown in str(caught.value)


def test_an_unknown_profession_is_refused_by_name() -> None:
    with pytest.raises(UnknownBaseProfessionError, match="wizard"):
        final_competencies("wizard", [], [])
    assert issubclass(UnknownBaseProfessionError, UnknownIdError)
    assert issubclass(UnknownIdError, ValueError)


def change_competency(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = directory / "competencies.yaml"
    entries = yaml.safe_load(file.read_text())
    change(entries[0])
    file.write_text(yaml.safe_dump(entries))


def change_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        text = (directory / name).read_text()
        assert old in text
        (directory / name).write_text(text.replace(old, new, 1))

    return change


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a profession names an unknown competency": (
        change_text("base_professions.yaml", "- request_mri_scan", "- request_mri_scam"),
        "foundation_year_2.*request_mri_scam",
    ),
    "a competency names an unknown register": (
        change_text("competencies.yaml", "[GMC, NMC, GPhC]", "[GMC, NMD]"),
        "prescribe_non_controlled.*NMD",
    ),
    "a register is foreign to the default jurisdiction": (
        change_text("jurisdictions/us.yaml", "equivalent_to: GMC", "equivalent_to: GMX"),
        "'us'.*GMX",
    ),
    "a foreign register has no equivalent": (
        change_text("jurisdictions/us.yaml", "    equivalent_to: GMC\n", ""),
        "'us'.*state_medical_board",
    ),
    "a register names an unknown profession": (
        change_text("jurisdictions/au.yaml", "[pharmacist]", "[alchemist]"),
        "'au'.*alchemist",
    ),
    "a schedule names an unknown competency": (
        change_text("jurisdictions/eu.yaml", "prescribe_controlled_schedule_2", "prescribe_anything"),
        "'eu'.*prescribe_anything",
    ),
    "a competency is defined twice": (
        change_text("competencies.yaml", "id: certify_cremation", "id: certify_death"),
        "'certify_death' is defined twice",
    ),
    "a profession lists a competency twice": (
        change_text("base_professions.yaml", "    - perform_cannulation", "    - perform_venepuncture"),
        "'perform_venepuncture' is listed 2 times",
    ),
    "a field is unknown": (
        lambda directory: change_competency(directory, lambda entry: entry.update(riskiness="low")),
        "riskiness",
    ),
    "a field is missing": (
        lambda directory: change_competency(directory, lambda entry: entry.pop("clinical_safety_notes")),
        "clinical_safety_notes",
    ),
    "a risk level is unknown": (
        lambda directory: change_competency(directory, lambda entry: entry.update(risk_level="mild")),
        "risk_level",
    ),
    "a retention is none of the three": (
        lambda directory: change_competency(directory, lambda entry: entry.update(audit_retention_days=10)),
        "audit_retention_days",
    ),
    "registration is required by no register": (
        lambda directory: change_competency(directory, lambda entry: entry.update(registration_type=[])),
        "contradict",
    ),
    "a permission is unknown": (
        change_text(
            "base_professions.yaml", "default_system_permission: staff", "default_system_permission: god"
        ),
        "default_system_permission",
    ),
    "the default jurisdiction is missing": (
        lambda directory: (directory / "jurisdictions" / "uk.yaml").unlink(),
        "no jurisdiction 'uk'",
    ),
    "a file is missing": (
        lambda directory: (directory / "base_professions.yaml").unlink(),
        "base_professions.yaml",
    ),
    "a file is no YAML": (
        lambda directory: (directory / "competencies.yaml").write_text("- {"),
        "competencies.yaml",
    ),
    "the jurisdictions are missing": (
        lambda directory: shutil.rmtree(directory / "jurisdictions"),
        "jurisdictions",
    ),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_catalogue_is_refused_with_its_fault(tmp_path: Path, breakage: str) -> None:
    with resources.as_file(resources.files(cbac)) as shipped:
        shutil.copytree(shipped, tmp_path / "cbac", ignore=shutil.ignore_patterns("__pycache__"))
    load_catalogue(tmp_path / "cbac")
    breaking, message = BREAKAGES[breakage]
    breaking(tmp_path / "cbac")
    with pytest.raises(CatalogueError, match=message):
        load_catalogue(tmp_path / "cbac")
