import pytest
from hypothesis import given
from hypothesis import strategies as st

from quill_shared.kernel.permissions import SystemPermission, UnknownPermissionError

permissions = st.sampled_from(SystemPermission)
HIERARCHY = [
    SystemPermission.PATIENT,
    SystemPermission.STAFF,
    SystemPermission.ADMIN,
    SystemPermission.SUPERADMIN,
]


def test_the_hierarchy_rises_from_patient_to_superadmin() -> None:
    assert [permission.level for permission in HIERARCHY] == [0, 1, 2, 3]


@pytest.mark.parametrize("external", [SystemPermission.EXTERNAL_HCP, SystemPermission.PATIENT_ADVOCATE])
def test_external_users_stand_at_patient_level(external: SystemPermission) -> None:
    assert external.is_external
    assert external.level == SystemPermission.PATIENT.level
    assert not external.at_least(SystemPermission.STAFF)


@pytest.mark.parametrize("internal", HIERARCHY)
def test_nobody_else_is_external(internal: SystemPermission) -> None:
    assert not internal.is_external


@given(permissions, permissions)
def test_of_two_permissions_at_least_one_reaches_the_other(a: SystemPermission, b: SystemPermission) -> None:
    assert a.at_least(b) or b.at_least(a)
    assert (a.at_least(b) and b.at_least(a)) == (a.level == b.level)


@given(permissions, permissions, permissions)
def test_at_least_is_transitive(a: SystemPermission, b: SystemPermission, c: SystemPermission) -> None:
    if a.at_least(b) and b.at_least(c):
        assert a.at_least(c)


@given(permissions)
def test_parse_returns_what_the_value_spells(permission: SystemPermission) -> None:
    assert SystemPermission.parse(str(permission)) is permission


@given(st.text().filter(lambda text: text not in list(SystemPermission)))
def test_parse_refuses_everything_else(text: str) -> None:
    with pytest.raises(UnknownPermissionError) as caught:
        SystemPermission.parse(text)
    assert caught.value.value == text
    assert "superadmin" in str(caught.value)


@pytest.mark.parametrize("text", ["", "ADMIN", " admin", "admin ", "STAFF", "root", "0"])
def test_parse_forgives_no_spelling(text: str) -> None:
    with pytest.raises(UnknownPermissionError, match="Must be one of"):
        SystemPermission.parse(text)


def test_comparing_by_text_is_refused() -> None:
    with pytest.raises(TypeError, match="at_least"):
        assert SystemPermission.PATIENT > SystemPermission.ADMIN
    with pytest.raises(TypeError, match="at_least"):
        assert SystemPermission.PATIENT >= "admin"
