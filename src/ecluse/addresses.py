"""Say which address a request comes from, whatever its headers claim, and which addresses count as one visitor.

A server sees who holds the connection. Behind a proxy that is the proxy, which names the visitor in a header; but so
can anyone. So the header is believed only from the proxies that the settings name, and of its hops only as far as
these go: the right-most one that is none of them is the visitor. What a visitor wrote further left is his own word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: What one household or machine is commonly given of IPv6: whoever has one address of it has them all (RFC 6177).
IPV6_BLOCK: Final = 64
#: Where in the state of a request the application says that it knows who sends it, see `serving.connections`.
SENDER_IS_KNOWN: Final = "sender_is_known"
#: What is written for "whoever connects is the proxy".
EVERYONE: Final = "*"


@dataclass(frozen=True)
class Proxies:
    """The proxies that are believed. `everyone`: whoever connects is one, and no hop further left is."""

    networks: tuple[Network, ...] = ()
    everyone: bool = False

    @classmethod
    def parse(cls, written: str) -> Proxies:
        """Return those of a list such as "10.0.0.0/8, 192.0.2.7", or of "*".

        Raises:
            ValueError: a part is neither an address nor a network; it says which.
        """
        parts = [part for piece in written.split(",") if (part := piece.strip())]
        if parts == [EVERYONE]:
            return cls(everyone=True)
        return cls(tuple(ip_network(part, strict=False) for part in parts))

    def believes(self, peer: str) -> bool:
        """Return whether what this peer says of others is believed."""
        address = read_address(peer)
        return self.everyone or (address is not None and self._has(address))

    def visitor(self, peer: str, hops: Iterable[str]) -> str:
        """Return the address of the visitor; `hops` are the parts of all X-Forwarded-For of the request, in their
        order.

        Where a believed proxy names a hop that is no address, its own is the last that is certain.
        """
        if not self.believes(peer):
            return peer
        certain = peer
        for hop in reversed([hop.strip() for hop in hops if hop.strip()]):
            address = read_address(hop)
            if address is None:
                return certain
            certain = str(address)
            if not self._has(address):
                return certain
        return certain

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def __str__(self) -> str:
        return EVERYONE if self.everyone else ", ".join(str(network) for network in self.networks)


NO_PROXIES: Final = Proxies()


def read_address(written: str) -> Address | None:
    """Return an address as a header or a connection writes it, with a port or without; None where it is none."""
    host = written.strip().strip('"')
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def block_of(host: str) -> str:
    """Return what counts as one visitor: an IPv4 address, the /64 of an IPv6 address; else the name as it stands."""
    address = read_address(host)
    if address is None:
        return host
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, IPV6_BLOCK), strict=False))


def is_loopback_name(host: str) -> bool:
    """Return whether a host, by its name or address, is this very machine."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
