"""The rules, on their own."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quill_auth.domain import invites, names, passwords
from quill_auth.domain.administration import Powers, may_administer, unknown_roles
from quill_auth.domain.passwords import PasswordFault
from quill_auth.domain.sessions import Family, SessionLimits, Verdict, expiry, judge
from quill_auth.domain.throttling import Bucket, Policy, after_failure, seconds_to_wait
from quill_shared.kernel.permissions import SystemPermission

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
LIMITS = SessionLimits(idle=timedelta(hours=8), absolute=timedelta(days=7), grace=timedelta(seconds=10))
SECOND = timedelta(seconds=1)
GROWING = Policy(limit=5, longest=timedelta(minutes=15), grows=True)
STEADY = Policy(limit=100, longest=timedelta(minutes=15), grows=False)


@pytest.mark.parametrize(
    ("name", "username"),
    [("Amara Okafor", "amaraokafor"), ("  Seán  O'Brien ", "seáno'brien"), ("\uff21nna", "anna"), ("", "")],
)
def test_a_user_name_is_made_of_the_name(name: str, username: str) -> None:
    assert names.derived_username(name) == username


@given(st.text())
def test_the_key_of_a_name_is_its_own_key(text: str) -> None:
    assert names.key(names.key(text)) == names.key(text)
    assert names.key(text.upper()) == names.key(text.upper().lower())


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("1234567", PasswordFault.TOO_SHORT),
        ("12345678", None),
        (" " * 8, None),
        ("👩‍⚕️" * 8, None),
        ("x" * 128, None),
        ("x" * 129, PasswordFault.TOO_LONG),
        ("ﬃ" * 43, PasswordFault.TOO_LONG),
    ],
)
def test_passwords_have_eight_to_128_characters(password: str, fault: PasswordFault | None) -> None:
    assert passwords.password_fault(password) is fault


@pytest.mark.parametrize(
    ("family", "used", "verdict"),
    [
        ({}, None, Verdict.ROTATE),
        ({}, NOW, Verdict.SIBLING),
        ({}, NOW - 10 * SECOND, Verdict.SIBLING),
        ({}, NOW - 11 * SECOND, Verdict.REPLAYED),
        ({"refreshed_at": NOW - timedelta(hours=8)}, None, Verdict.EXPIRED),
        ({"refreshed_at": NOW - timedelta(hours=8) + SECOND}, None, Verdict.ROTATE),
        ({"created_at": NOW - timedelta(days=7)}, None, Verdict.EXPIRED),
        ({"ended": True}, None, Verdict.ENDED),
        ({"ended": True}, NOW - timedelta(hours=1), Verdict.ENDED),
        ({"account_active": False, "ended": True}, None, Verdict.INACTIVE),
    ],
)
def test_a_refresh_token_is_judged(
    family: dict[str, object], used: datetime | None, verdict: Verdict
) -> None:
    values: dict[str, object] = {
        "created_at": NOW - timedelta(hours=1),
        "refreshed_at": NOW - timedelta(minutes=10),
        "ended": False,
        "account_active": True,
        **family,
    }

    assert judge(Family(**values), used, NOW, LIMITS) is verdict  # type: ignore[arg-type]


def test_a_session_ends_at_the_nearer_limit() -> None:
    assert expiry(NOW, NOW, LIMITS) == NOW + timedelta(hours=8)
    assert expiry(NOW, NOW + timedelta(days=6, hours=20), LIMITS) == NOW + timedelta(days=7)


@pytest.mark.parametrize("actor", SystemPermission)
@pytest.mark.parametrize("involved", SystemPermission)
def test_who_may_administer_whom(actor: SystemPermission, involved: SystemPermission) -> None:
    allowed = actor is SystemPermission.SUPERADMIN or (
        actor is SystemPermission.ADMIN and involved is not SystemPermission.SUPERADMIN
    )

    assert may_administer(actor, SystemPermission.PATIENT, involved) is allowed


def test_powers_are_raised_by_anything_they_lack() -> None:
    powers = Powers(SystemPermission.STAFF, frozenset({"Clinician"}), frozenset({"a", "b"}))

    assert not powers.raised_by(powers)
    assert not powers.raised_by(Powers(SystemPermission.PATIENT, frozenset(), frozenset({"a"})))
    assert powers.raised_by(Powers(SystemPermission.ADMIN, frozenset(), frozenset()))
    assert powers.raised_by(Powers(SystemPermission.STAFF, frozenset({"Other"}), frozenset()))
    assert powers.raised_by(Powers(SystemPermission.STAFF, frozenset(), frozenset({"c"})))
    assert unknown_roles(["Clinician", "Wizard", "Boss"]) == ["Boss", "Wizard"]


def test_failures_slowly_made_never_close_an_account() -> None:
    bucket: Bucket | None = None
    for minutes in range(0, 600, 2):
        moment = NOW + timedelta(minutes=minutes)
        assert seconds_to_wait(bucket, moment) == 0
        bucket = after_failure(bucket, moment, GROWING)


def test_an_hour_of_quiet_is_a_new_beginning() -> None:
    bucket: Bucket | None = None
    for _ in range(8):
        bucket = after_failure(bucket, NOW, GROWING)
    assert seconds_to_wait(bucket, NOW) == 480
    later = NOW + timedelta(hours=1)
    assert after_failure(bucket, later, GROWING) == Bucket(1, later, 0, None, later)


@given(st.lists(st.integers(0, 4000), max_size=80))
def test_no_minute_holds_more_than_the_limit_of_attempts(gaps: list[int]) -> None:
    """Whoever tries at whatever moments: looked at are at most five in any window that closed."""
    moment, bucket, looked_at = NOW, None, []
    for gap in gaps:
        moment += timedelta(seconds=gap / 100)
        if seconds_to_wait(bucket, moment) == 0:
            looked_at.append(moment)
            bucket = after_failure(bucket, moment, GROWING)
    for start in looked_at:
        within = [each for each in looked_at if start <= each < start + timedelta(minutes=1)]
        assert len(within) < 2 * GROWING.limit


def test_an_address_waits_for_the_rest_of_its_minute_only() -> None:
    bucket: Bucket | None = None
    for number in range(100):
        bucket = after_failure(bucket, NOW + number * SECOND / 10, STEADY)
    assert seconds_to_wait(bucket, NOW + 10 * SECOND) == 50
    assert seconds_to_wait(bucket, NOW + 60 * SECOND) == 0
    assert bucket is not None
    assert after_failure(bucket, NOW + 60 * SECOND, STEADY).failures == 1


def test_an_invitation_stands_once_in_time_and_unrevoked() -> None:
    invite = invites.InviteState(NOW, NOW + timedelta(days=7), None, None)

    assert invite.stands(NOW)
    assert not invite.stands(NOW + timedelta(days=7))
    assert not invites.InviteState(NOW, NOW + timedelta(days=7), NOW, None).stands(NOW)
    assert not invites.InviteState(NOW, NOW + timedelta(days=7), None, NOW).stands(NOW)
    assert invites.undoes_revocation(invite, NOW)
    assert not invites.undoes_revocation(invite, NOW - SECOND)
    assert not invites.undoes_revocation(invite, None)
