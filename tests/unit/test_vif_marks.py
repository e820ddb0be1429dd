"""How links are named, and whose they are by that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krater.agent.vif.firewall import ruleset, table_name
from krater.agent.vif.marks import Marks
from krater.errors import Invalid

OURS, THEIRS = Marks("one"), Marks("two")


@given(st.text(max_size=300))
def test_every_name_fits_the_kernel(word: str) -> None:
    for name in (OURS.bridge(word, False), OURS.bridge(word, True), OURS.card(word)):
        assert len(name) == 15
        assert name.isascii()
        assert name.isalnum()


def test_a_name_is_the_same_every_time_and_another_for_others() -> None:
    assert OURS.bridge("red", False) == Marks("one").bridge("red", False)
    assert len({OURS.bridge("red", False), OURS.bridge("blue", False), OURS.bridge("red", True)}) == 3
    assert OURS.bridge("red", False) != THEIRS.bridge("red", False)


def test_a_bridge_is_no_card_and_nothing_is_anothers() -> None:
    assert OURS.is_bridge(OURS.bridge("red", True))
    assert not OURS.is_bridge(OURS.card("red"))
    assert OURS.is_card(OURS.card("red"))
    assert not OURS.is_card(THEIRS.card("red"))
    assert not OURS.is_bridge(THEIRS.bridge("red", False))


def test_an_alias_tells_what_was_written_into_it() -> None:
    assert OURS.network_of(OURS.bridge_alias("red")) == "red"
    assert OURS.card_of(OURS.card_alias("sandbox", "port")) == ("sandbox", "port")


@pytest.mark.parametrize("alias", ["", "krater:one", "krater:two:s:p", "docker", "krater:one:network:", "a:b:c:d:e"])
def test_other_aliases_tell_nothing(alias: str) -> None:
    assert OURS.network_of(alias) is None
    assert OURS.card_of(alias) is None or alias == "krater:one:network:"


@pytest.mark.parametrize("word", ["", "a:b", "a/b", ".hidden", "ä", "a\n", "x" * 101])
def test_words_that_would_break_a_path_or_an_alias_are_refused(word: str) -> None:
    with pytest.raises(Invalid):
        OURS.card_alias(word, "port")
    with pytest.raises(Invalid):
        OURS.card_alias("sandbox", word)
    with pytest.raises(Invalid):
        Marks(word)


def test_a_bridges_mac_is_fixed_and_no_multicast() -> None:
    mac = OURS.bridge_mac("red")
    assert mac == Marks("one").bridge_mac("red") != THEIRS.bridge_mac("red")
    assert mac.startswith("02:")


def test_tables_of_similar_instances_are_two() -> None:
    assert table_name(Marks("a-b")) != table_name(Marks("a_b"))
    assert table_name(Marks("a-b")).startswith("krater_a_b_")


def test_rules_name_each_bridge_once_and_say_what_was_chosen() -> None:
    text = ruleset(OURS, ["br1", "br2"], nat=True, host_access=False)
    assert 'elements = { "br1" . "br1", "br2" . "br2" }' in text
    assert "masquerade" in text
    assert "reject" in text
    text = ruleset(OURS, ["br1"], nat=False, host_access=True)
    assert "masquerade" not in text
    assert "reject" not in text
