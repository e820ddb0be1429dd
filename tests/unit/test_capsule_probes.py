"""Probes of templates, as the node gets them."""

from typing import Any

import msgspec
import pytest

from krater.api.capsule_probes import read_probe
from krater.api.schemas import capsules as asked
from krater.errors import Invalid
from krater.model.member import HttpRequest, Probe


def read(**probe: Any) -> Probe | None:
    return read_probe("spec.containers[0].livenessProbe", msgspec.convert(probe, asked.Probe))


@pytest.mark.parametrize(
    ("template", "probe"),
    [
        ({"exec": {"command": ["test", "-e", "/well"]}}, Probe(("test", "-e", "/well"))),
        ({"httpGet": {"port": 80}}, Probe(http=HttpRequest(80, "/", "http"))),
        ({"httpGet": {"port": 443, "path": "/a?b", "scheme": "HTTPS"}}, Probe(http=HttpRequest(443, "/a?b", "https"))),
        (
            {"tcpSocket": {"port": 5432}, "initialDelaySeconds": 86400, "periodSeconds": 86400, "timeoutSeconds": 600},
            Probe(port=5432, delay=86400, interval=86400, timeout=600),
        ),
        (
            {"tcpSocket": {"port": 1}, "failureThreshold": 9, "successThreshold": 2},
            Probe(port=1, failures=9, successes=2),
        ),
    ],
)
def test_a_probe_is_read(template: dict[str, Any], probe: Probe) -> None:
    assert read(**template) == probe


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("periodSeconds", 0, "allowed are 1 to 86400 seconds"),
        ("timeoutSeconds", 0, "allowed are 1 to 600 seconds"),
        ("timeoutSeconds", 601, "allowed are 1 to 600 seconds"),
        ("initialDelaySeconds", "99999", "allowed are 0 to 86400 seconds"),
    ],
)
def test_what_would_hold_a_node_up_is_refused_with_its_place(field: str, value: int | str, complaint: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read(tcpSocket={"port": 80}, **{field: value})
    assert refusal.value.message == f"spec.containers[0].livenessProbe.{field}: {value} is out of range; {complaint}"
