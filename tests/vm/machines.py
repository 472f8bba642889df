# SPDX-License-Identifier: GPL-2.0
"""How is a kernel started with a channel to its guest?

A machine is one process on this host, its console a file in the run's folder,
and one end of a socket pair that the guest sees as a serial line.
"""

import contextlib
import os
import resource
import shutil
import socket
import struct
import subprocess

from . import cache, initrd
from .contain import die_with_parent

PYTHON = "/usr/bin/python3"
START = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                     "guest", "start.py")
MANY_HOSTS = 64

# arch/um/drivers/mconsole.h of the kernel has the request's form
MCONSOLE_MAGIC = 0xcafebabe
MCONSOLE_SECONDS = 2.0
# blocked tasks, all tasks' stacks
SYSRQ_KEYS = (b"w", b"t")

# User Mode Linux looks for the top of its address space among the strings of
# its environment, and replaces PATH before: there must be another variable
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def memory_megabytes(hosts):
    """What a machine needs; pages it does not touch cost nothing."""
    return 4096 if hosts > MANY_HOSTS else 2048


class Machine:
    """A machine that runs."""

    def __init__(self, kernel, hosts, out):
        self.kernel = kernel
        self.hosts = hosts
        self.out = out
        self.channel, theirs = socket.socketpair()
        with theirs, open(os.path.join(out, "kernel.log"), "ab") as log:
            self.process = subprocess.Popen(
                self.argv(theirs.fileno()), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, pass_fds=[theirs.fileno()],
                start_new_session=True, preexec_fn=_limit, cwd="/",
                env=self.environment())

    def argv(self, channel):
        """The machine's command line."""
        raise NotImplementedError

    def environment(self):
        """The machine's own environment on this host."""
        return ENVIRONMENT

    def first_process(self, mode, device):
        """The arguments of the guest's init."""
        return ["--", mode, self.out, PYTHON, "-S", "-E", "-X",
                "pycache_prefix=" + cache.path("pycache"), START, "agent",
                device]

    def show_tasks(self):
        """Have the kernel's log tell what a guest that hangs is doing."""

    def stop(self):
        """End it at once; what it had to write is written."""
        self.process.kill()
        self.process.wait()
        self.channel.close()


def _limit():
    die_with_parent()
    # a panic of User Mode Linux aborts: no core file in the checkout
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class UmlMachine(Machine):
    """User Mode Linux: a kernel as a process of this host."""

    device = "/dev/ttyS0"
    # how much longer than on this host itself a step may take
    patience = 1.0
    slow = False

    def __init__(self, *args):
        # where its management socket will be
        self.folder = cache.temporary("uml")
        super().__init__(*args)

    def argv(self, channel):
        cpus = 2 if self.kernel.config("SMP") else 1
        return [self.kernel.image,
                "mem=%dM" % memory_megabytes(self.hosts), "ncpus=%d" % cpus,
                "seccomp=on", "root=/dev/root", "rootfstype=hostfs",
                "rootflags=/", "ro", "oops=panic", "console=tty0",
                "con=null", "con0=null,fd:1", "ssl=null",
                "ssl0=fd:%d" % channel, "umid=lab", "uml_dir=" + self.folder,
                "init=" + initrd.init_program(),
                *self.first_process("uml", self.device)]

    def environment(self):
        # its memory is a file in /dev/shm, unlinked as soon as it is open;
        # containers tend to have a small one
        room = shutil.disk_usage("/dev/shm").free
        if room >= memory_megabytes(self.hosts) << 20:
            return ENVIRONMENT
        return dict(ENVIRONMENT, TMPDIR=cache.temporary("memory"))

    def show_tasks(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            asking.settimeout(MCONSOLE_SECONDS)
            # an address for the answer, chosen by the host's kernel
            asking.bind("")
            for key in SYSRQ_KEYS:
                command = b"sysrq " + key
                request = struct.pack("=III512s", MCONSOLE_MAGIC, 2,
                                      len(command), command)
                with contextlib.suppress(OSError):
                    asking.sendto(request, self.folder + "/lab/mconsole")
                    asking.recv(4096)


class QemuMachine(Machine):
    """QEMU: a stock kernel on emulated (or, where sure, real) processors."""

    device = "/dev/vport0p1"
    patience = 4.0
    slow = True

    def argv(self, channel):
        append = ["console=ttyS0", "rdinit=/init", "panic=-1", "oops=panic",
                  "mitigations=off", "random.trust_cpu=on",
                  *self.first_process("qemu", self.device)]
        return ["/usr/bin/qemu-system-x86_64", *accelerator(), "-smp", "2",
                "-m", str(memory_megabytes(self.hosts)),
                "-nodefaults", "-no-user-config", "-display", "none",
                "-no-reboot", "-nic", "none", "-serial", "stdio",
                "-chardev", "socket,id=lab,fd=%d" % channel,
                "-device", "virtio-serial-pci",
                "-device", "virtserialport,chardev=lab,name=lab",
                "-virtfs", "local,path=/,mount_tag=root,readonly=on,"
                "security_model=passthrough,multidevs=remap",
                "-virtfs", "local,path=%s,mount_tag=out,"
                "security_model=passthrough,multidevs=remap" % self.out,
                "-kernel", self.kernel.image,
                "-initrd", initrd.initramfs(self.kernel),
                "-append", " ".join(append)]


def accelerator():
    """KVM only where the processor says that it has it.

    Elsewhere /dev/kvm may open, and even make a processor, and yet a guest
    hangs in early boot. Emulated processors take turns in one thread: with a
    thread each, one of them may meet a breakpoint that another has just taken
    back from code it patches, and a sound kernel dies of "Oops: int3".
    """
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        words = set(file.read().split())
    if words & {"vmx", "svm"} and os.access("/dev/kvm", os.R_OK | os.W_OK):
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=single", "-cpu", "max"]


MACHINES = {"uml": UmlMachine, "qemu": QemuMachine}
