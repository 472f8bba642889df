# SPDX-License-Identifier: GPL-2.0
"""How are packages of this and of other suites fetched?

The mirror's address comes from the machine's own apt configuration, so what
the lab fetches comes from where the machine's packages come from. Suites that
the machine does not follow get an apt state of their own in the cache: the
machine's lists stay as they are.
"""

import os
import re
import subprocess

from . import cache
from .errors import LabError


def codename():
    """The machine's own release, as in bookworm."""
    with open("/etc/os-release", encoding="utf-8") as file:
        found = re.search(r'^VERSION_CODENAME="?(\w+)', file.read(), re.M)
    if not found:
        raise LabError("packages", "/etc/os-release names no Debian release")
    return found.group(1)


def _run(step, argv, cwd=None):
    done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(step, _reason(done.stderr) or "%s failed with %d"
                       % (os.path.basename(argv[0]), done.returncode))
    return done.stdout


def _reason(text):
    """apt's own first error line, without its mark."""
    errors = re.findall(r"^E: (.*)$", text, re.M)
    return errors[0] if errors else ""


def mirror():
    """Where this machine gets its release from."""
    release = codename()
    text = _run("packages", ["apt-get", "indextargets", "--format",
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

    def known(self):
        """Whether its lists were ever fetched."""
        return True

    def update(self):
        """Fetch the lists, once a run."""
        if not self.updated:
            cache.say("fetching package lists")
            _run("package lists", ["apt-get", "-qq", "update"])
            self.updated = True

    def offered(self, package):
        """The version apt would fetch, or None."""
        text = _run("packages", ["apt-cache", *self.options, "policy",
                                 package])
        found = re.search(r"Candidate: (\S+)", text)
        return found.group(1) if found and found.group(1) != "(none)" else None

    def depends(self, package):
        """Names that @package's first alternatives depend on."""
        text = _run("packages", ["apt-cache", *self.options, "depends",
                                 package])
        return re.findall(r"^ *Depends: (\S+)", text, re.M)

    def fetch(self, package, version, folder):
        """Download one package into @folder; return its path."""
        cache.say("fetching %s %s" % (package, version))
        before = set(os.listdir(folder))
        _run("fetching " + package,
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
        sources = os.path.join(self.state, "sources.list")
        self.options = ["-o", "Dir::State::lists=%s/lists" % self.state,
                        "-o", "Dir::Etc::sourcelist=" + sources,
                        "-o", "Dir::Etc::sourceparts=/dev/null",
                        "-o", "Dir::Cache=%s/cache" % self.state]

    def known(self):
        """Whether its lists were ever fetched."""
        return os.path.isdir(self.state)

    def update(self):
        """Fetch the lists, once a run."""
        if self.updated:
            return
        for name in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(self.state, name), exist_ok=True)
        with open(os.path.join(self.state, "sources.list"), "w",
                  encoding="utf-8") as file:
            file.write("deb %s %s main\n" % (mirror(), self.name))
        cache.say("fetching the package list of " + self.name)
        _run("package list of " + self.name,
             ["apt-get", *self.options, "-qq", "update"])
        self.updated = True


def unpack(deb, folder):
    """Unpack a package's files under @folder."""
    _run("unpacking " + os.path.basename(deb), ["dpkg-deb", "-x", deb, folder])
