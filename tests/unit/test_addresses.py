"""Which addresses a market calls for strangers: never one that leads into its own net, however it is spelled."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deai.addresses import is_allowed
from deai.errors import BadField
from deai_market.courier import Target

LOCAL = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1",
]  # fmt: skip
NEVER = [
    "0.0.0.0", "0.1.2.3", "169.254.169.254", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1",  # noqa: S104
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::7f00:1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fe80::1", "fe80::1%eth0", "fec0::1",
    "ff02::1", "ff0e::1", "2606:4700::1111%1", "::1%lo", "::ffff:8.8.8.8%1",
    "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254", "::ffff:168.63.129.16",
    "", "localhost", "127.1", "2130706433", "0x7f000001", "010.0.0.1", "1.2.3.4 ", "[::1]",
]  # fmt: skip
GLOBAL = [
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("text", GLOBAL)
def test_global_addresses_are_called(text: str) -> None:
    assert is_allowed(text, private=False)
    assert is_allowed(text, private=True)


@pytest.mark.parametrize("text", LOCAL)
def test_local_addresses_are_called_where_the_operator_says_so(text: str) -> None:
    assert not is_allowed(text, private=False)
    assert is_allowed(text, private=True)


@pytest.mark.parametrize("text", NEVER)
def test_other_addresses_are_never_called(text: str) -> None:
    assert not is_allowed(text, private=False)
    assert not is_allowed(text, private=True)


@given(st.integers(0, (1 << 32) - 1).map(ipaddress.IPv4Address))
@example(ipaddress.IPv4Address("169.254.169.254"))
@example(ipaddress.IPv4Address("8.8.8.8"))
def test_an_ipv4_address_is_the_same_however_ipv6_carries_it(address: ipaddress.IPv4Address) -> None:
    for private in (False, True):
        plain = is_allowed(str(address), private=private)
        for prefix in ("::ffff:0:0", "64:ff9b::"):
            carried = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + int(address))
            assert is_allowed(str(carried), private=private) == plain
    # Of what carries it otherwise, nothing is called.
    for number in (int(address), (0x2002 << 112) + (int(address) << 80), (0x20010000 << 96) + int(address)):
        assert not is_allowed(str(ipaddress.IPv6Address(number)), private=False)


@given(st.ip_addresses(v=4))
def test_what_is_called_is_global_and_means_one_machine(address: ipaddress.IPv4Address) -> None:
    if is_allowed(str(address), private=False):
        assert is_allowed(str(address), private=True)
        assert address.is_global
        assert not any((address.is_loopback, address.is_link_local, address.is_private))
        assert not any((address.is_multicast, address.is_unspecified, address.is_reserved))


@given(st.ip_addresses(v=6))
def test_what_is_called_of_ipv6_is_unicast_or_carries_ipv4(address: ipaddress.IPv6Address) -> None:
    is_unicast = int(address) >> 125 == 1
    carries_ipv4 = int(address) >> 32 in (0xFFFF, 0x64FF9B << 64)
    assert not is_allowed(str(address), private=False) or is_unicast or carries_ipv4


@given(st.text(max_size=40))
def test_any_text_is_answered(text: str) -> None:
    is_allowed(text, private=True)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "ftp://example.org/", "http://", "http:///path", "https://example.org:0/", "http://example.org:65536/",
        "http://example.org:x/", "http://name@example.org/", "http://name:word@example.org/", "http://:word@example.org/",
        "http://example.org/ a", "http://example.org/\r\nx: y", "http://example.org/\tx", "http://example.org/ä", "http://exämple.org/",
        "http://example.org\\@127.0.0.1/", "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://[::1]/", "http://[::1",
        "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://169.254.169.254/latest/meta-data", "http://[::ffff:10.0.0.1]/",
        "file:///etc/passwd", "gopher://example.org/",
    ],
)  # fmt: skip
def test_a_url_that_leads_nowhere_good_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadField) as refused:
        Target.parse(url, private=False)
    assert (refused.value.field, refused.value.value) == ("callback_url", None)
    assert "@" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://example.org", Target(True, "example.org", 443, "/"), "example.org"),
        (
            "http://Example.org:8080/a/b?c=d#e",
            Target(False, "example.org", 8080, "/a/b?c=d"),
            "example.org:8080",
        ),
        ("http://8.8.8.8?x", Target(False, "8.8.8.8", 80, "/?x"), "8.8.8.8"),
        ("https://[2606:4700::1]:443/", Target(True, "2606:4700::1", 443, "/"), "[2606:4700::1]"),
        (
            "https://xn--exmple-cua.org:444/",
            Target(True, "xn--exmple-cua.org", 444, "/"),
            "xn--exmple-cua.org:444",
        ),
    ],
)
def test_a_url_is_read_into_what_a_request_needs(url: str, target: Target, authority: str) -> None:
    assert Target.parse(url, private=False) == target
    assert target.authority == authority
