# SPDX-License-Identifier: GPL-2.0
"""Hosts: network namespaces, each with the interface of its own HCA."""

import contextlib
import fcntl
import glob
import os
import re
import socket
import struct

from . import kernel, reach
from .kernel import StepError
from .netlink import PORT_ACTIVE, Rdma, Route
from .sm import port_guid

NAMESPACES = "/run/netns"
# of port 1 and of port 2
NAMES = ("ib0", "ib1")
NAME = NAMES[0]
SIOCGIFFLAGS = 0x8913
IFF_RUNNING = 0x40
# RFC 4391 section 9.1.1: flags, QPN, GID
ADDRESS_SIZE = 20
STEP = "hosts"
RETRY = "/proc/sys/net/%s/neigh/%s/retrans_time_ms"
RETRY_MS = 50


def namespace_of(host):
    """The file of a host's namespace."""
    return open("%s/host%d" % (NAMESPACES, host), encoding="ascii")


@contextlib.contextmanager
def inside(host):
    """Be in the namespace of a host, or in the initial one for host 0."""
    where = "%s/host%d" % (NAMESPACES, host) if host else "/proc/1/ns/net"
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        with open(where, encoding="ascii") as namespace:
            kernel.setns(namespace.fileno())
        yield
    finally:
        kernel.setns(back)
        os.close(back)


def create(count):
    """Make the namespaces host1 to host<count>, as `ip netns` knows them."""
    os.makedirs(NAMESPACES, exist_ok=True)
    # shared, so that what tests add is seen in every `ip netns exec`
    kernel.mount(NAMESPACES, NAMESPACES, flags=kernel.MS_BIND)
    kernel.mount("none", NAMESPACES, flags=kernel.MS_SHARED | kernel.MS_REC)
    allow_neighbours(count)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    for host in range(1, count + 1):
        where = "%s/host%d" % (NAMESPACES, host)
        kernel.write(where, "")
        kernel.new_netns()
        kernel.mount("/proc/thread-self/ns/net", where, flags=kernel.MS_BIND)
        with Route() as route:
            route.set_link(1, up=True)
    kernel.setns(home)
    os.close(home)


def allow_neighbours(count):
    """Make room in the neighbour tables: all namespaces share one limit."""
    room = max(1024, 4 * count * count)
    for family in ("ipv4", "ipv6"):
        for level in (3, 2, 1):
            kernel.write("/proc/sys/net/%s/neigh/default/gc_thresh%d"
                         % (family, level), str(room))


def ports(hcas):
    """{(HCA number, port number)} of these HCAs.

    What the initial namespace does not see is its host's alone.
    """
    found = set()
    for where in glob.glob("/sys/class/infiniband/fab*/ports/*"):
        hca, port = re.fullmatch(r".*/fab(\d+)/ports/(\d+)", where).groups()
        found.add((int(hca), int(port)))
    for host in hcas - {hca for hca, _ in found}:
        found.update((host, port) for port, _ in
                     enumerate(_port_states(host), 1))
    return {one for one in found if one[0] in hcas}


def interfaces():
    """{(HCA number, port): index} of those in the initial namespace."""
    found = {}
    base = "/sys/class/net"
    for name in os.listdir(base):
        device = os.path.realpath("%s/%s/device" % (base, name))
        match = re.fullmatch(r"fab(\d+)", os.path.basename(device))
        port = kernel.read("%s/%s/dev_port" % (base, name))
        if match and port:
            found[int(match.group(1)), int(port) + 1] = int(
                kernel.read("%s/%s/ifindex" % (base, name)))
    return found


def own_interfaces(host):
    """{(host, port): index} of those a driver made in the host's namespace.

    There its HCA is the host's alone; it may still have made them elsewhere.
    """
    with inside(host), Route() as route:
        links = {address[-8:]: index for address, index in
                 route.links().items() if len(address) == ADDRESS_SIZE}
    guids = {port: (port_guid(host) + port - 1).to_bytes(8, "big")
             for port in range(1, len(NAMES) + 1)}
    return {(host, port): links[guid] for port, guid in guids.items()
            if guid in links}


def located(wanted):
    """{(HCA, port): index} in the initial namespace, and of the hosts @wanted
    in their own."""
    here, own = interfaces(), {}
    for host in wanted:
        if (host, 1) not in here:
            own.update(own_interfaces(host))
    return here, own


def adopt(wanted, seconds, aside=()):
    """Give each host of @wanted its interfaces, named and up.

    That of port 1 is ib0 and has addresses, that of a port 2 is ib1 and has
    none. Those of the HCAs @aside are waited for alone: they stay where they
    are.
    """
    def missing():
        hcas = {*wanted, *aside}
        asked = {(hca, 1) for hca in hcas} | ports(hcas)
        here, own = located(wanted)
        return sorted(asked - set(here) - set(own))

    kernel.wait_for(lambda: not missing(), seconds, STEP,
                    lambda: "the driver made no interface for HCA %s"
                    % ", ".join("%d port %d" % one for one in missing()))
    here, own = located(wanted)
    with Route() as route:
        for (host, port), index in here.items():
            if host not in wanted:
                continue
            with namespace_of(host) as namespace:
                route.move_link(index, namespace.fileno(), NAMES[port - 1])
    for (host, port), index in own.items():
        with inside(host), Route() as route:
            route.rename_link(index, NAMES[port - 1])
    for host in wanted:
        with inside(host):
            _bring_up(host)


def give_hcas(count):
    """Move each host's HCA into its namespace, for it alone."""
    with Rdma() as rdma:
        devices = rdma.devices()
        for host in range(1, count + 1):
            with namespace_of(host) as namespace:
                rdma.move_device(devices["fab%d" % host], namespace.fileno())


def ports_are_active(host):
    """Whether the ports of the host's HCA are ACTIVE, asked where it lives."""
    states = _port_states(host)
    return bool(states) and set(states) == {PORT_ACTIVE}


def _port_states(host):
    """States of the ports of the host's HCA, none when it is not there."""
    with inside(host), Rdma() as rdma:
        return rdma.port_states("fab%d" % host)


def _bring_up(host):
    index = socket.if_nametoindex(NAME)
    with Route() as route:
        route.add_address(index, reach.address(4, host), 24)
        route.add_address(index, reach.address(6, host), 64)
        for _, name in socket.if_nameindex():
            if name in NAMES:
                route.set_link(socket.if_nametoindex(name), up=True)


def _running(sock):
    request = struct.pack("16sH14x", NAME.encode(), 0)
    try:
        answer = fcntl.ioctl(sock, SIOCGIFFLAGS, request)
    except OSError:
        return False
    return bool(struct.unpack_from("H", answer, 16)[0] & IFF_RUNNING)


def sockets_of(count, version):
    """A socket in each host."""
    sockets = {}
    for host in range(1, count + 1):
        with inside(host):
            sockets[host] = reach.open_socket(version)
    return sockets


def wait_ready(count, seconds):
    """Wait until every host has carrier and reaches every other."""
    sockets = sockets_of(count, 4)

    def dark():
        return [host for host, sock in sockets.items() if not _running(sock)]

    kernel.wait_for(lambda: not dark(), seconds, "carrier",
                    lambda: "host%d has none" % dark()[0])
    for sock in sockets.values():
        sock.close()
    saved = set_retry(count, {host: RETRY_MS for host in sockets})
    try:
        reach.wait_all(lambda version: sockets_of(count, version), seconds)
    finally:
        set_retry(count, saved)


def set_retry(count, wanted):
    """Set how soon a host repeats a neighbour request; what it was before.

    A request sent before the subnet manager has told the switch of both ends
    is lost, and the lab does not wait a second for the next one.
    """
    before = {}
    for host in range(1, count + 1):
        with inside(host):
            for family in ("ipv4", "ipv6"):
                name = RETRY % (family, NAME)
                before[host] = kernel.read(name)
                kernel.write(name, str(wanted[host]))
    return before


def require_interfaces(count):
    """Refuse to wait for interfaces that nobody made."""
    for host in range(1, count + 1):
        with inside(host):
            try:
                socket.if_nametoindex(NAME)
            except OSError:
                raise StepError(STEP, "host%d has no %s; is a driver loaded?"
                                % (host, NAME)) from None
