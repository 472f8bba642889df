# SPDX-License-Identifier: GPL-2.0
"""How are packages of this and of other suites fetched?

The mirror's address comes from the machine's own apt configuration, so what
the lab fetches comes from where the machine's packages come from. Suites that
the machine does not follow get an apt state of their own in the cache: the
machine's lists stay as they are.
"""

import contextlib
import os
import re
import subprocess
import time

from . import cache
from .errors import LabError

# package lists of this age still say what is offered
FRESH_SECONDS = 86400


def codename():
    """The machine's own release, as in bookworm."""
    with open("/etc/os-release", encoding="utf-8") as file:
        found = re.search(r'^VERSION_CODENAME="?(\w+)', file.read(), re.M)
    if not found:
        raise LabError("packages", "/etc/os-release names no Debian release")
    return found.group(1)


def run(step, argv, cwd=None, env=None):
    """Run a package tool to its end; its output."""
    done = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(step, _reason(done.stderr) or "%s failed with %d"
                       % (os.path.basename(argv[0]), done.returncode))
    return done.stdout


def _reason(text):
    """apt's own first error line, without its mark."""
    errors = re.findall(r"^E: (.*)$", text, re.M)
    return errors[0] if errors else ""


def proxies():
    """apt's options that say how this machine reaches the mirror."""
    text = run("packages", ["apt-config", "dump"])
    return re.findall(r'^(Acquire::https?::Proxy\S* ".+?");$', text, re.M)


def numbers(name):
    """The numbers in @name, to tell the higher of two versions."""
    return [int(number) for number in re.findall(r"\d+", name)]


def mirror():
    """Where this machine gets its release from."""
    release = codename()
    text = run("packages", ["apt-get", "indextargets", "--format",
                            "$(REPO_URI) $(RELEASE) $(CODENAME)"])
    for line in text.splitlines():
        uri, *suites = line.split()
        if release in suites:
            return uri
    raise LabError("packages", "apt's sources do not list " + release)


class Own:
    """The machine's own release, by the machine's own lists."""

    options = []
    updated = False

    def refresh(self):
        """Have lists that say what is offered; the machine's own do."""

    def update(self):
        """Fetch the lists, once a run."""
        if not self.updated:
            cache.say("fetching package lists")
            run("package lists", ["apt-get", "-qq", "update"])
            self.updated = True

    def offered(self, package):
        """The version apt would fetch, or None."""
        text = run("packages", ["apt-cache", *self.options, "policy",
                                package])
        found = re.search(r"Candidate: (\S+)", text)
        return found.group(1) if found and found.group(1) != "(none)" else None

    def names(self, start):
        """Names of offered packages that begin with @start."""
        return run("packages", ["apt-cache", *self.options, "pkgnames",
                                start]).split()

    def newest(self, start):
        """The name with the highest numbers of those @names offers."""
        found = [name for name in self.names(start) if self.offered(name)]
        return max(found, key=numbers, default=None)

    def depends(self, package):
        """Names that @package's first alternatives depend on."""
        text = run("packages", ["apt-cache", *self.options, "depends",
                                package])
        return re.findall(r"^ *Depends: (\S+)", text, re.M)

    def fetch(self, package, version, folder):
        """Download one package into @folder; return its path."""
        cache.say("fetching %s %s" % (package, version))
        before = set(os.listdir(folder))
        run("fetching " + package,
            ["apt-get", *self.options, "-qq",
             "-o", "APT::Sandbox::User=root", "download",
             "%s=%s" % (package, version)], cwd=folder)
        new = [name for name in os.listdir(folder)
               if name not in before and name.endswith(".deb")]
        return os.path.join(folder, new[0])


class Suite(Own):
    """A suite the machine does not follow, with a private apt state."""

    def __init__(self, name):
        self.name = name
        self.state = cache.path("apt", name)
        # touched when the lists were fetched
        self.stamp = os.path.join(self.state, "fetched")
        sources = os.path.join(self.state, "sources.list")
        self.options = ["-o", "Dir::State::lists=%s/lists" % self.state,
                        "-o", "Dir::Etc::sourcelist=" + sources,
                        "-o", "Dir::Etc::sourceparts=/dev/null",
                        # what is installed here is no candidate there
                        "-o", "Dir::State::status=/dev/null",
                        "-o", "Dir::Cache=%s/cache" % self.state]

    def refresh(self):
        """Fetch the lists where they are old, if that can be done now."""
        with contextlib.suppress(OSError):
            age = time.time() - os.path.getmtime(self.stamp)
            if age < FRESH_SECONDS:
                return
        with contextlib.suppress(LabError):
            self.update()

    def update(self):
        """Fetch the lists, once a run."""
        if self.updated:
            return
        cache.say("fetching the package list of " + self.name)
        with cache.lock("apt-" + self.name):
            for name in ("lists/partial", "cache/archives/partial"):
                os.makedirs(os.path.join(self.state, name), exist_ok=True)
            with open(os.path.join(self.state, "sources.list"), "w",
                      encoding="utf-8") as file:
                file.write("deb %s %s main\n" % (mirror(), self.name))
            run("package list of " + self.name,
                ["apt-get", *self.options, "-qq", "update"])
            with open(self.stamp, "w", encoding="ascii"):
                self.updated = True


def unpack(deb, folder):
    """Unpack a package's files under @folder."""
    run("unpacking " + os.path.basename(deb), ["dpkg-deb", "-x", deb, folder])
