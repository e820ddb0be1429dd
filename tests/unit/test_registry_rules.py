"""What may be pulled from where: the rules alone."""

from ipaddress import ip_address

import pytest

from krater.config import ApiSettings, Settings, load
from krater.errors import Invalid
from krater.model.image import ImageRef
from krater.model.registry import Login, Registry, RegistryRules, is_public, split_domain
from tests.support.stores import T0

PRIVATE = [
    *("127.0.0.1", "127.255.1.2", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
    *("::1", "::", "fe80::1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:a00:1::1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("text", PRIVATE)
def test_what_is_not_everybodys_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))
    assert not RegistryRules().admits("any.example", 443, ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_everybodys_is(text: str) -> None:
    assert is_public(ip_address(text))
    assert RegistryRules().admits("any.example", 443, ip_address(text))


@pytest.mark.parametrize(
    ("domain", "parts"),
    [
        ("quay.io", ("quay.io", None)),
        ("Quay.IO:5000", ("quay.io", 5000)),
        ("[::1]:5000", ("::1", 5000)),
        ("[::1]", ("::1", None)),
        ("localhost", ("localhost", None)),
    ],
)
def test_domains_are_taken_apart(domain: str, parts: tuple[str, int | None]) -> None:
    assert split_domain(domain) == parts


def test_deny_is_stronger_than_allow_and_holds_for_where_registries_lead() -> None:
    rules = RegistryRules(allow=["*.example", "quay.io:443"], deny=["bad.example", "*:23"])
    assert rules.refusal("good.example") is None
    assert rules.refusal("GOOD.example:5000") is None
    assert rules.refusal("quay.io:443") is None
    assert "allowed are *.example, quay.io:443" in (rules.refusal("quay.io") or "")
    assert "does not allow" in (rules.refusal("bad.example") or "")
    assert "does not allow" in (rules.refusal("good.example:23") or "")
    assert not rules.admits("BAD.example.", 443, ip_address("8.8.8.8"))
    assert rules.admits("cdn.elsewhere.net", 443, ip_address("8.8.8.8")), "layers may lie anywhere in public"


def test_what_is_named_is_reachable() -> None:
    rules = RegistryRules(reachable=["10.1.0.0/16", "[::1]", "registry.internal:5000", "localhost:*", "*.lan"])
    assert rules.refusal("10.1.2.3") is None
    assert rules.refusal("10.2.2.3") is not None
    assert rules.admits("any.example", 443, ip_address("10.1.2.3"))
    assert rules.admits("any.example", 443, ip_address("::ffff:10.1.2.3"))
    assert rules.admits("any.example", 443, ip_address("::1"))
    assert rules.admits("registry.internal", 5000, ip_address("192.168.0.1"))
    assert not rules.admits("registry.internal", 5001, ip_address("192.168.0.1"))
    assert rules.admits("a.lan", 1, ip_address("192.168.0.1"))


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid, match=r"10\.0\.0\.0/99"):
        RegistryRules(reachable=["10.0.0.0/99"])


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        (("registries", "reachable"), "10.0.0.0/99", "no range"),
        (("registries", "default"), "not a domain", "registries"),
        (("registries", "default_username"), "me", "default_password_file"),
        (("api", "trusted_proxies"), "the proxy", "trusted_proxies"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_start(option: tuple[str, str], value: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        load(None, {option: value})


def test_registries_without_tls_are_reachable() -> None:
    settings = load(None, {("agent", "plain_http_registries"): "10.0.0.5:5000"})
    assert settings.registry_rules.refusal("10.0.0.5:5000") is None
    assert settings.registry_rules.refusal("10.0.0.5:5001") is not None


def test_passwords_are_in_no_representation() -> None:
    registry = Registry("r", "n", "d.example", "me", "sealed-text", "p", "u", T0)
    assert "sealed-text" not in repr(registry)
    assert "word" not in repr(Login("d.example", "me", "word"))
    assert Settings().api == ApiSettings()
    assert ImageRef("d.example", "team/app", "1", None).repository == "d.example/team/app"
