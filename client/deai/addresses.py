"""Which addresses we may call on behalf of strangers. Pure.

Sources: the IANA registries of special-purpose addresses (RFC 6890 and its updates); NAT64 is RFC 6052 and RFC 8215.
"""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that is routed of IPv6."""
_SPECIAL_4 = [ipaddress.IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24")]
"""Protocol assignments, and relays of 6to4."""
_SPECIAL_6 = [
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
"""Protocol assignments (Teredo among them), documentation, 6to4."""
_PRIVATE = [
    ipaddress.ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128")
] + [ipaddress.ip_network("fc00::/7")]


_CLOUD = [
    ipaddress.ip_address(text)
    for text in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254")
]
"""Where clouds answer their own machines, with credentials for whoever asks, outside 169.254.0.0/16: Alibaba's, Azure's, Amazon's, Google's."""


def is_allowed(text: str, *, private: bool) -> bool:
    """Whether the address may be called: a global one, or, with `private`, one of this machine or a local net. Never one of a link, or another
    where clouds keep their metadata, nor one that stands for many."""
    try:
        address = _plain(ipaddress.ip_address(text))
    except ValueError:
        return False
    if address in _CLOUD:
        return False
    return _is_global(address) or (private and any(address in net for net in _PRIVATE))


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, where it does. Raises ValueError for one with a zone."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError("an address with a zone is one of a link")
    if isinstance(address, IPv6Address) and (address in _MAPPED or address in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        special = address.is_multicast or address.is_reserved or any(address in net for net in _SPECIAL_4)
        return address.is_global and not special
    return address in _UNICAST and address.is_global and not any(address in net for net in _SPECIAL_6)
