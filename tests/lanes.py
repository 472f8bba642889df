# SPDX-License-Identifier: GPL-2.0
"""What kinds of lane are there, and how does each run its tests?

A lane is one machine and what runs in it, or one build, or the lint. It knows
the names of its tests before it runs them.
"""

import collections
import contextlib
import fractions
import os
import pathlib
import re
import select as select_module
import signal
import subprocess
import time

import schedule
from vm import kernels, modules, variant
from vm.compilers import OWN
from vm.errors import LabError

TOP = pathlib.Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"
OUT = TOP / "tests" / "out" / "check"
FUNCTIONAL = "tests/functional"
PYTEST = [PYTHON, "-B", "-m", "pytest", "-p", "no:cacheprovider"]
HOSTS = 4

# From COMMAND's start; what a lane takes is a fraction of it.
LANE_TIMEOUT = {"uml": 3600, "kasan": 7200, "debug": 10800, "6.1": 7200,
                "6.12": 7200, "7.3": 7200}
# Machines whose processors are emulated, and keep one of this host's busy.
EMULATED = ("6.1", "6.12", "7.3")
# The others wait for most of their time: three of them on two processors.
NATIVE = fractions.Fraction(2, 3)


# how often a lane whose machine ended too soon goes on in another one
MACHINES = 3
# so many tests that failed run once more; with more something else is wrong
AGAIN = 5
# seconds that one test may take: the choices of every day have no long ones
TEST_SECONDS = {"short": 300, "core": 300, "smoke": 900}
LONG_TEST_SECONDS = 3600


def verdict(status):
    """A status that the tests' own results do not explain, in words."""
    words = {70: "the kernel reported a fault", 124: "took too long",
             125: "the lab could not be set up"}
    return words.get(status, "" if status in (0, 1) else
                     f"ended with status {status}")


def select(expr):
    return ["-k", expr] if expr else []


def unless_usual(chosen):
    """The last word of a lane's name, when it is not all that is usual there."""
    return [] if chosen in ("all", "rest") else [chosen]


def shard_word(shard):
    """The same of a lane that is one of several, 1of3 of 1/3."""
    return [shard.replace("/", "of")] if shard else []


def processors(kernel):
    """How many processors of this host a machine with a kernel keeps busy."""
    return 1 if kernel in EMULATED else NATIVE


class Lane:
    """Something that runs tests and reports each by name."""

    name = ""
    # how many of this host's it keeps busy
    processors = schedule.WHOLE
    # lines on what it does not run, once expected() has been called
    left_out = ()
    # tests that failed, and passed when they were run again
    unsteady = ()

    def expected(self, _expr):
        """Names of the tests this lane is to run."""
        raise NotImplementedError

    def run(self, expr, report):
        """Run them; report(name, passed) for each. A word on what else broke."""
        raise NotImplementedError

    @property
    def log(self):
        """Where the lane's whole output goes."""
        return OUT / (self.name.replace("/", "-") + ".log")


class BuildLane(Lane):
    """Every part of the project, for one kernel, without a warning.

    By the kernel's own compiler, or by another. Of another architecture's
    kernel there are only the headers.
    """

    def __init__(self, kernel, compiler=OWN):
        self.name = "/".join(filter(None, ["build", kernel, compiler.name]))
        self.kernel = (kernels.KERNELS | kernels.CROSS)[kernel]
        self.compiler = compiler

    def parts(self):
        # Debian's kernels have no KUnit.
        return [part for part in modules.PARTS.values()
                if part.there(TOP) and not (part.needs and
                                            self.kernel.machine == "qemu")]

    def expected(self, expr):
        # One of these is no test that an expression could mean.
        return [] if expr else [f"{part.name} builds" for part in self.parts()]

    def run(self, expr, report):
        for part in self.parts():
            report(f"{part.name} builds", self.build(part))
        return ""

    def build(self, part):
        """W=1 and warnings as errors; what failed is in the lane's log."""
        log = self.log.with_suffix(f".{part.name}")
        try:
            modules.build(part, self.kernel.ensure(), str(TOP), str(log),
                          self.compiler)
        except LabError as err:
            print("  ", err.line())
            return False
        return True


class PytestLane(Lane):
    """A pytest run, here or in a machine."""

    def __init__(self, name, env, command):
        self.name = name
        self.env = env
        self.command = command
        self.limit = TEST_SECONDS.get(env["LAB_CHOSEN"], LONG_TEST_SECONDS)
        # every test of this lane, in the order in which they run
        self.names = []
        # what it leaves out, and why: a line each
        self.left_out = []
        # seconds that the tests of a file took
        self.seconds = collections.Counter()

    def expected(self, expr):
        done = subprocess.run(
            [*PYTEST, "--collect-only", "-q", *select(expr), FUNCTIONAL],
            cwd=TOP, env=dict(os.environ, **self.env), text=True,
            capture_output=True, check=False)
        # 5: nothing was chosen, which an expression may well mean
        if done.returncode not in (0, 5):
            raise LabError(self.name, "tests cannot be collected\n"
                           f"{done.stdout}{done.stderr}")
        lines = done.stdout.splitlines()
        self.names = [line for line in lines
                      if line.startswith(FUNCTIONAL) and "::" in line]
        self.left_out = [line for line in lines
                         if line.startswith("left out: ")]
        return list(self.names)

    def run(self, expr, report):
        """Run them, in another machine when the first one ended too soon.

        What failed runs once more in a machine of its own. A test that passes
        there is unsteady, which is told and is no failure of this run.
        """
        waiting, troubles = list(self.names or self.expected(expr)), []
        failed = {}

        def note(name, passed):
            if passed:
                report(name, True)
            else:
                failed[name] = False

        self.log.write_text("", encoding="utf-8")
        for _ in range(MACHINES):
            left, trouble = self._run_once(expr, note, waiting)
            troubles.append(trouble)
            # a machine that ran nothing will not do better the next time
            if not left or len(left) == len(waiting):
                break
            waiting = left
        if 0 < len(failed) <= AGAIN:
            again = {}
            self._run_once(expr, lambda name, passed: again.update(
                {name: passed and again.get(name, True)}), list(failed))
            failed.update(again)
        for name, passed in failed.items():
            report(name, passed)
        self.unsteady = [name for name, passed in failed.items() if passed]
        return "; ".join(filter(None, troubles))

    def _run_once(self, expr, report, waiting):
        """(tests that did not report, a word on what else broke)."""
        done = set(self.names) - set(waiting)
        left = list(waiting)
        command = [*self.command, *PYTEST, "-v", "--tb=short",
                   "--durations=40", "--durations-min=2", *select(expr),
                   *(f"--deselect={name}" for name in sorted(done)),
                   FUNCTIONAL]
        with subprocess.Popen(
                command, cwd=TOP, env=dict(os.environ, **self.env),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True) as process:
            try:
                for name, passed in self._results(process.stdout):
                    report(name, passed)
                    if name in left:
                        left.remove(name)
            except TooLong:
                _end(process)
                if not left:
                    return left, "did not end after the last test"
                report(left[0], False)
                return left[1:], f"{left[0]} ran for over {self.limit} s"
        return left, verdict(process.returncode)

    def _results(self, output):
        """(name, passed) of each test as it ends; the rest goes to the log.

        TooLong is raised when a test takes longer than it may. The host
        measures that, so a task that is stuck in the machine's kernel does not
        hold the lane up.
        """
        outcome = re.compile(rf"^({FUNCTIONAL}/.+?::.+?) (PASSED|FAILED|ERROR)")
        since = None
        with open(self.log, "a", encoding="utf-8") as log:
            for line in _lines(output, lambda: since and
                               since + self.limit - time.monotonic()):
                log.write(line)
                log.flush()
                found = outcome.match(line)
                if found and since:
                    file = pathlib.PurePath(found.group(1).partition("::")[0])
                    self.seconds[file.name] += time.monotonic() - since
                if found or line.startswith("collected "):
                    since = time.monotonic()
                if found:
                    yield found.group(1), found.group(2) == "PASSED"


class TooLong(Exception):
    """No line came in time."""


def _lines(output, seconds_left):
    """The lines of a pipe; seconds_left() limits the wait, None is no limit."""
    rest = b""
    while True:
        left = seconds_left()
        ready = select_module.select([output], [], [], None if left is None
                                     else max(left, 0))[0]
        if not ready:
            raise TooLong
        data = os.read(output.fileno(), 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace") + "\n"
    if rest:
        yield rest.decode(errors="replace") + "\n"


def _end(process):
    """End a lab: it removes what it made when it has the time to."""
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class GuestLane(PytestLane):
    """The functional tests in one machine with one driver.

    More options of the lab make it a variant, with tests of its own:
    GuestLane("uml", "stock", sm=2) is uml/stock/sm=2 and runs what is marked
    lab(sm=2), and nothing of uml/stock. @label names a variant of
    many words. @chosen is one of the choices that functional/conftest.py
    knows. @shard is "2/3" for the second of three machines that share a lane's
    tests.
    """

    def __init__(self, kernel, driver, chosen="all", label=None, shard=None,
                 **more):
        words = variant.words(more)
        self.processors = processors(kernel)
        env = {"LAB_DRIVER": driver, "LAB_KERNEL": kernel,
               "LAB_HOSTS": str(HOSTS), "LAB_CHOSEN": chosen,
               "LAB_SHARD": shard or "1/1", "LAB_VARIANT": " ".join(words)}
        super().__init__("/".join([kernel, driver,
                                   *([label] if label else words),
                                   *unless_usual(chosen),
                                   *shard_word(shard)]), env, [
            "tests/lab", "run", "--kernel", kernel, "--driver", driver,
            "--hosts", str(HOSTS), "--timeout", str(LANE_TIMEOUT[kernel]),
            *variant.arguments(more), "--", "env", f"LAB_CHOSEN={chosen}",
            f"LAB_SHARD={env['LAB_SHARD']}"])




class HostLane(PytestLane):
    """The lab's own contract: these tests start labs themselves."""

    processors = NATIVE

    def __init__(self, chosen="all", shard=None):
        super().__init__(
            "/".join(["lab", *unless_usual(chosen), *shard_word(shard)]),
            {"LAB_DRIVER": "host", "LAB_CHOSEN": chosen,
             "LAB_SHARD": shard or "1/1"}, [])


def shards(parts, kind, *args, **more):
    """@parts lanes of a kind that share what one would run."""
    return [kind(*args, shard=f"{part + 1}/{parts}", **more)
            for part in range(parts)]


class KunitLane(Lane):
    """The KUnit suites on a kernel that has KUnit."""

    def __init__(self, kernel):
        self.name = f"kunit/{kernel}"
        self.kernel = kernel
        self.processors = processors(kernel)

    def expected(self, expr):
        names = [name for file in sorted((TOP / "tests/kunit").glob("*.c"))
                 for name in self.cases(file.read_text(encoding="utf-8"))]
        return [name for name in names if not expr or expr in name]

    @staticmethod
    def cases(source):
        """A source file's cases, by the name of their suite."""
        suite = re.search(r'\.name = "(\w+)"', source)
        return [f"{suite.group(1)}.{case}" for case in
                re.findall(r"\bKUNIT_CASE(?:_PARAM)?\((\w+)", source)]

    @staticmethod
    def verdicts(output):
        """(name, passed) of each case in TAP, where a suite comes first."""
        suite = ""
        for line in output.splitlines():
            begins = re.match(r" {4}# Subtest: (\w+)", line)
            ends = re.match(r" {4}(ok|not ok) \d+ (\w+)", line)
            if begins:
                suite = begins.group(1)
            elif ends:
                yield f"{suite}.{ends.group(2)}", ends.group(1) == "ok"

    def run(self, expr, report):
        done = subprocess.run(
            ["tests/lab", "run", "--kernel", self.kernel, "--driver", "none",
             "--hosts", "1", "--", "tests/kunit/run"], cwd=TOP, text=True,
            errors="replace", stdin=subprocess.DEVNULL, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.log.write_text(done.stdout, encoding="utf-8")
        for name, passed in self.verdicts(done.stdout):
            if not expr or expr in name:
                report(name, passed)
        return verdict(done.returncode)


class LintLane(Lane):
    """tests/lint, where each rule is a test."""

    name = "lint"

    def expected(self, expr):
        done = subprocess.run(["tests/lint", "--list"], cwd=TOP, text=True,
                              capture_output=True, check=True)
        # A rule is no test that an expression could mean.
        return [] if expr else done.stdout.split()

    def run(self, _expr, report):
        done = subprocess.run(["tests/lint"], cwd=TOP, text=True,
                              errors="replace", stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        self.log.write_text(done.stdout, encoding="utf-8")
        for name, count in re.findall(r"^(\w+): (\d+) findings", done.stdout,
                                      re.M):
            report(name, count == "0")
        return verdict(done.returncode)


class MutantLane(Lane):
    """tests/mutate, where each bug that is put in is a test."""

    name = "mutants"

    def expected(self, expr):
        names = [path.stem for path in
                 sorted((TOP / "tests/mutants").glob("*.patch"))]
        return [name for name in names if not expr or expr in name]

    def run(self, expr, report):
        with open(self.log, "w", encoding="utf-8") as log, subprocess.Popen(
                ["tests/mutate", *self.expected(expr)], cwd=TOP, text=True,
                errors="replace", stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            for line in process.stdout:
                log.write(line)
                log.flush()
                found = re.match(r"(\S+): (noticed|survived|broken)", line)
                if found:
                    report(found.group(1), found.group(2) == "noticed")
        return verdict(process.returncode)
