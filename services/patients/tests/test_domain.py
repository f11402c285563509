"""The rules of identity."""

import string
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quill_patients import domain
from quill_patients.domain import Identity, InvalidValueError

TODAY = date(2026, 3, 1)
nine_digits = st.text("0123456789", min_size=9, max_size=9).filter(lambda digits: digits != "000000000")


def _check_digit(nine: str) -> int | None:
    """Modulus 11 in the words of the NHS Data Dictionary; None for a number that is not issued."""
    weighted = [int(digit) * (11 - place) for place, digit in enumerate(nine, start=1)]
    check = 11 - sum(weighted) % 11
    return None if check == 10 else 0 if check == 11 else check


@given(nine_digits)
def test_of_all_last_digits_at_most_the_check_digit_is_accepted(nine: str) -> None:
    accepted = []
    for last in range(10):
        try:
            accepted.append(int(domain.nhs_number(f"{nine}{last}")[-1]))
        except InvalidValueError:
            continue
    expected = _check_digit(nine)
    assert accepted == ([] if expected is None else [expected])


@given(st.lists(st.sampled_from(["", " ", "-", "  "]), min_size=9, max_size=9))
def test_separators_are_removed(separators: list[str]) -> None:
    typed = "9" + "".join(map(str.__add__, separators, "434765919"))

    assert domain.nhs_number(typed) == "9434765919"


@given(nine_digits, st.integers(0, 8), st.integers(1, 9))
def test_one_wrong_digit_is_always_noticed(nine: str, place: int, off: int) -> None:
    check = _check_digit(nine)
    wrong = nine[:place] + str((int(nine[place]) + off) % 10) + nine[place + 1 :]
    if check is None:
        return
    with pytest.raises(InvalidValueError):
        domain.nhs_number(f"{wrong}{check}")


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "943476591",
        "94347659190",
        "9434765918",
        "943476591X",
        "NHS9434765919",
        "٩٤٣٤٧٦٥٩١٩",
        "９４３４７６５９１９",  # noqa: RUF001
        "943\u00a0476\u00a05919",
        "943.476.5919",
        "943\n476\n5919",
        "+9434765919",
        "0000000000",
    ],
)
def test_other_kinds_of_nhs_number_are_refused(typed: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        domain.nhs_number(typed)
    assert typed.strip() == "" or typed not in str(refused.value)


@given(st.text(string.ascii_letters + string.digits + "-.", min_size=1, max_size=64))
def test_a_gradient_is_in_range_and_stays(patient_id: str) -> None:
    gradient = domain.avatar_gradient(patient_id)

    assert 0 <= gradient < 30
    assert gradient == domain.avatar_gradient(patient_id)


def test_gradients_never_change_between_releases() -> None:
    assert [domain.avatar_gradient(each) for each in ("p-1", "p-2", "demo-01")] == [5, 29, 4]


@given(st.dates(TODAY - timedelta(days=149 * 366), TODAY))
def test_a_plausible_date_of_birth_is_kept(born: date) -> None:
    assert domain.birth_date(born.isoformat(), today=TODAY) == born


@pytest.mark.parametrize(
    "typed",
    [
        "2026-03-02",
        "1876-02-28",
        "1980-02-30",
        "1980-2-3",
        "19800203",
        "1980-02-03T00:00:00",
        "03/02/1980",
        "1980",
        "",
        "１９８０-02-03",  # noqa: RUF001
    ],
)
def test_other_dates_of_birth_are_refused(typed: str) -> None:
    with pytest.raises(InvalidValueError):
        domain.birth_date(typed, today=TODAY)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("1876-03-01", True),
        ("1876", True),
        ("1876-02", False),
        ("1875", False),
        ("2026", True),
        ("2026-03", True),
        ("2026-04", False),
        ("2027", False),
        ("2026-03-01", True),
        ("2026-13", False),
    ],
)
def test_a_fhir_birth_date_may_be_partial(text: str, *, good: bool) -> None:
    if good:
        domain.check_fhir_birth_date(text, today=TODAY)
    else:
        with pytest.raises(InvalidValueError):
            domain.check_fhir_birth_date(text, today=TODAY)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Ada  ", "Ada"),
        ("Mary  Ann", "Mary Ann"),
        ("O'Brien-Żak", "O'Brien-Żak"),
        ("Jose\u0301", "José"),
        ("李", "李"),
    ],
)
def test_a_name_is_kept_in_its_normal_form(typed: str, kept: str) -> None:
    assert domain.person_name(typed) == kept


@pytest.mark.parametrize("typed", ["", "   ", "a\0b", "\x1b[0m", "123", "-", "x" * 201, "\ud800a"])
def test_other_names_are_refused(typed: str) -> None:
    with pytest.raises(InvalidValueError):
        domain.person_name(typed)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Identity("Ada", "Byron", date(1980, 1, 2)), True),
        (Identity("ADA", "byron", date(1980, 1, 2)), True),
        (Identity("Byron", "Ada", date(1980, 1, 2)), True),
        (Identity("A.", "Byron", date(1980, 1, 2)), True),
        (Identity("Ada", "Býron", date(1980, 1, 2)), True),
        (Identity("Ada", "Byron", date(1980, 1, 3)), False),
        (Identity("Ada", "Byron", None), False),
        (Identity("Grace", "Byron", date(1980, 1, 2)), False),
        (Identity("Ada", "Lovelace", date(1980, 1, 2)), False),
        (Identity("", "", date(1980, 1, 2)), False),
    ],
)
def test_likely_the_same_person(other: Identity, *, same: bool) -> None:
    one = Identity("Ada", "Byron", date(1980, 1, 2))

    assert domain.likely_same(one, other) is same
    assert domain.likely_same(other, one) is same


@pytest.mark.parametrize("text", ["", "123", "a b", "a/b", "..", "a" * 65, "é", "p_1"])
def test_other_ids_cannot_be_assigned(text: str) -> None:
    with pytest.raises(InvalidValueError):
        domain.assignable_id(text)
