"""Tell which addresses of the network everybody may reach, and look names up.

A page or its server may name any machine: this one, a router, the service that hands keys to
virtual machines. What decides is the number that is connected to, never how a name is written.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

Resolve = Callable[[str, int], Sequence[str]]
"""Looks a host up: its name and a port -> addresses in numbers. Raises OSError."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# They lead on to an IPv4 address through somebody's relay, or are for examples.
_NOT_PLAIN = tuple(
    map(ipaddress.ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)
# Services that give a virtual machine its keys; a cloud's own is public by its number.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"))
)


def resolve_host(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system finds them.

    Raises:
        OSError: if there are none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


def is_public(address: str) -> bool:
    """Return whether an address, in numbers, is one that everybody may reach."""
    ip = _plain(address)
    if ip is None or not _may_ever_be_fetched(ip):
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        return ip in _GLOBAL_UNICAST and not any(ip in network for network in _NOT_PLAIN)
    return ip.is_global and not ip.is_reserved


def is_private_or_public(address: str) -> bool:
    """Return whether an address may be fetched from where private ones are allowed.

    Link-local ones and services of metadata hold keys and no documents: they never may.
    """
    ip = _plain(address)
    return ip is not None and _may_ever_be_fetched(ip)


def _may_ever_be_fetched(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return not (ip.is_multicast or ip.is_unspecified or ip.is_link_local or ip in _METADATA)


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address, or the IPv4 address that it stands for; None if it is none."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    # A zone (`fe80::1%eth0`) would keep it from being compared.
    return ipaddress.IPv6Address(int(ip))
