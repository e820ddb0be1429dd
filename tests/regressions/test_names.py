"""Names that users may give, where they come to light."""

import dns.message
import dns.rcode

from krater.agent.vif.answers import Zone, answer


def test_the_address_of_a_host_that_cannot_be_named_is_answered_by_what_can() -> None:
    zone = Zone({"..": ("10.0.0.2",), ".": ("10.0.0.2", "10.0.0.3"), "a" * 64: ("10.0.0.2",), "b" * 36: ("10.0.0.2",)})
    found = answer(dns.message.make_query("2.0.0.10.in-addr.arpa", "PTR"), zone, "krater.test")
    assert found is not None
    assert found.answer[0][0].to_text() == f"{'b' * 36}.krater.test."
    assert answer(dns.message.make_query("3.0.0.10.in-addr.arpa", "PTR"), zone, "krater.test") is None
