# SPDX-License-Identifier: GPL-2.0
"""What do the figures say? Medians, spreads, ratios; text, CSV and a plot."""

import csv
import statistics
import subprocess

# name: (what it is, unit, divisor, more is better)
MEASURES = {
    "tcp1": ("TCP, one flow", "Mbit/s", 1e6, True),
    "tcp4": ("TCP, four flows", "Mbit/s", 1e6, True),
    "udp64": ("UDP, 64 bytes, delivered", "packets/s", 1, True),
    "neigh1": ("64 bytes, sent, to one neighbour", "packets/s", 1, True),
    "neigh10k": ("64 bytes, sent, to 10000 neighbours", "packets/s", 1, True),
    "neigh1 cpu": ("the same to one, processor time", "us/packet", 1e-6,
                   False),
    "neigh10k cpu": ("the same to 10000, processor time", "us/packet", 1e-6,
                     False),
    "rr": ("TCP round trip, median", "us", 1, False),
    "rr p99": ("TCP round trip, 99 %", "us", 1, False),
    "rr-loaded": ("the same beside a stream, median", "us", 1, False),
    "rr-loaded p99": ("the same beside a stream, 99 %", "us", 1, False),
    "tcp1 cpu": ("TCP, one flow, processor time", "s/GB", 1, False),
    "tcp1 cpu net": ("the same, less that of bare verbs", "s/GB", 1, False),
    "tcp1-bare": ("TCP, one flow, offloads off", "Mbit/s", 1e6, True),
    "tcp2-bare": ("TCP, one flow each way, offloads off", "Mbit/s", 1e6,
                  True),
    "tcp1-kept": ("TCP, one flow kept to one processor", "Mbit/s", 1e6, True),
    "tcp2-kept": ("TCP, one flow each way, each to its own", "Mbit/s", 1e6,
                  True),
    "loop64": ("bare verbs, 64 bytes", "messages/s", 1, True),
    "loop64-both": ("bare verbs, 64 bytes, both ways", "messages/s", 1, True),
    "loop2k": ("bare verbs, 2 KiB", "messages/s", 1, True),
    "loop2k-both": ("bare verbs, 2 KiB, both ways", "messages/s", 1, True),
}
# What no driver can do better than: the stack's part and the HCA's, one after
# the other, as a pair of veth and bare verbs show them in one round. A round
# trip has the stack's part alone for a floor, and what goes to hardware
# addresses, where veth has no neighbours, the HCA's.
FLOOR = "floor"
FLOORS = {"tcp1": "loop2k", "tcp4": "loop2k", "udp64": "loop64"}
STACK_FLOORS = ("rr", "rr p99", "rr-loaded", "rr-loaded p99", "tcp1-bare",
                "tcp2-bare")
VERBS_FLOORS = {"neigh1": "loop64", "neigh10k": "loop64"}
# Rows that differ by less are as good as each other: the machine moves more.
NOISE = 0.03


class Figures:
    """Values by measure and contender, one a round."""

    def __init__(self):
        self.values = {}
        self.verbs = {}

    def add(self, measure, contender, value):
        """Take one value."""
        divided = value / MEASURES[measure][2]
        self.values.setdefault(measure, {}).setdefault(
            contender, []).append(divided)

    def add_fact(self, fact, cpu_seconds):
        """Take what the machine told of one load."""
        row, who = fact["row"], fact["contender"]
        self.add(row, who, fact["value"])
        if "p99" in fact:
            self.add(row + " p99", who, fact["p99"])
        if row == "tcp1":
            self.add("tcp1 cpu", who, cpu_seconds / (fact["bytes"] / 1e9))
        if "packets" in fact:
            self.add(row + " cpu", who, cpu_seconds / fact["packets"])
        if row in FLOORS.values():
            # as MEASURES has the rows it is the floor of: bits, or packets
            self.verbs[row] = fact["value"] * (
                8 * fact["bytes"] / fact["messages"] if row == "loop2k" else 1)
        if row == "loop2k":
            self.verbs_cpu = cpu_seconds / (fact["bytes"] / 1e9)

    verbs_cpu = None

    def last(self, measure, contender):
        """The last value, as it came in, or None."""
        values = self.values.get(measure, {}).get(contender)
        return values[-1] * MEASURES[measure][2] if values else None

    def close_round(self):
        """What takes more than one load to tell."""
        if self.verbs_cpu is not None:
            for who, values in self.values.get("tcp1 cpu", {}).items():
                self.add("tcp1 cpu net", who, values[-1] - self.verbs_cpu)
            if self.last("tcp1 cpu", "veth"):
                self.add("tcp1 cpu", FLOOR, self.verbs_cpu +
                         self.last("tcp1 cpu", "veth"))
        for measure, row in FLOORS.items():
            stack, verbs = self.last(measure, "veth"), self.verbs.get(row)
            if stack and verbs:
                self.add(measure, FLOOR, 1 / (1 / stack + 1 / verbs))
        for measure in STACK_FLOORS:
            if self.last(measure, "veth"):
                self.add(measure, FLOOR, self.last(measure, "veth"))
        for measure, row in VERBS_FLOORS.items():
            if self.last(measure, "ours") and self.verbs.get(row):
                self.add(measure, FLOOR, self.verbs[row])
        self.verbs = {}

    def median(self, measure, contender):
        """The median, or None when it was not measured."""
        values = self.values.get(measure, {}).get(contender)
        return statistics.median(values) if values else None

    def paired(self, above, below):
        """Median of the ratios, round by round, or None.

        @above and @below are (measure, contender).
        """
        pairs = list(zip(*(self.values.get(measure, {}).get(who, [])
                           for measure, who in (above, below))))
        if not pairs or not all(b for _, b in pairs):
            return None
        return statistics.median(a / b for a, b in pairs)

    def ratio(self, measure, first, second):
        """The same of one measure: @first to @second."""
        return self.paired((measure, first), (measure, second))

    def contenders(self, measure):
        """Who was measured, in the order of the turns."""
        return list(self.values.get(measure, {}))


# (what, what is asked for: one of (measure and contender above, those below,
# the bound), whether that is the least)
TARGETS = [
    ("one flow beside stock",
     [(("tcp1", "ours"), ("tcp1", "stock"), 1.3)], True),
    ("four flows beside stock, or the floor",
     [(("tcp4", "ours"), ("tcp4", "stock"), 1.5),
      (("tcp4", "ours"), ("tcp4", "floor"), 0.8)], True),
    ("datagrams of 64 bytes beside stock",
     [(("udp64", "ours"), ("udp64", "stock"), 1.5)], True),
    ("round trip beside stock, median",
     [(("rr", "ours"), ("rr", "stock"), 1)], False),
    ("round trip beside stock, 99 %",
     [(("rr p99", "ours"), ("rr p99", "stock"), 1)], False),
    ("round trip beside a stream, beside stock, 99 %",
     [(("rr-loaded p99", "ours"), ("rr-loaded p99", "stock"), 0.5)], False),
    ("processor time per GB beside stock",
     [(("tcp1 cpu", "ours"), ("tcp1 cpu", "stock"), 0.75)], False),
    ("processor time per packet to 10000 neighbours beside one",
     [(("neigh10k cpu", "ours"), ("neigh1 cpu", "ours"), 1.1)], False),
    # what the fabric has to carry to be worth measuring on
    ("stock over the fabric beside veth, one flow, offloads off",
     [(("tcp1-bare", "stock"), ("tcp1-bare", "veth"), 0.5)], True),
    ("two opposite flows beside one, stock, offloads off",
     [(("tcp2-bare", "stock"), ("tcp1-bare", "stock"), 1.6)], True),
    ("the same with each flow on a processor of its own",
     [(("tcp2-kept", "stock"), ("tcp1-kept", "stock"), 1.6)], True),
]


def worse(figures, first, second):
    """Measures in which @first does worse than @second, with the ratio."""
    for measure, (what, _, _, more) in MEASURES.items():
        ratio = figures.ratio(measure, first, second)
        if ratio and (ratio < 1 - NOISE if more else ratio > 1 + NOISE):
            yield f"{what} {ratio:.2f}"


def no_row_worse(figures):
    """The line that says whether any row is worse than stock, if measured."""
    both = any(figures.ratio(measure, "ours", "stock") for measure in MEASURES)
    found = "; ".join(worse(figures, "ours", "stock"))
    return [f"no row worse than stock by more than {NOISE}" +
            (f": {found} (MISSED)" if found else " (met)")] if both else []


def targets(figures):
    """A line for each target that was measured, by the table's ratios."""
    lines = no_row_worse(figures)
    for what, choices, least in TARGETS:
        said, met = [], False
        for above, below, bound in choices:
            ratio = figures.paired(above, below)
            if ratio is None:
                continue
            met |= ratio >= bound if least else ratio <= bound
            said.append(f"{ratio:.2f}, wanted {'' if least else 'at most '}"
                        f"{bound}")
        if said:
            lines.append(f"{what}: {' or '.join(said)} "
                         f"({'met' if met else 'MISSED'})")
    return lines


def number(value):
    """Four digits are enough of any figure."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(figures, first, others):
    """The table as lines, with @first beside each of @others."""
    beside = "".join(f"{first + '/' + other:>12}" for other in others)
    lines = [f"{'':40} {'unit':10} {'contender':14} {'median':>10} "
             f"{'lowest':>10} {'highest':>10}{beside}"]
    for measure, (what, unit, _, _) in MEASURES.items():
        for at, who in enumerate(figures.contenders(measure)):
            values = figures.values[measure][who]
            ratios = [figures.ratio(measure, first, other)
                      if who == first else None for other in others]
            lines.append((
                f"{what if not at else '':40} {unit if not at else '':10} "
                f"{who:14} {number(figures.median(measure, who)):>10} "
                f"{number(min(values)):>10} {number(max(values)):>10}" +
                "".join(f"{ratio:12.3f}" if ratio else " " * 12
                        for ratio in ratios)).rstrip())
    return lines


def write_csv(figures, path):
    """Every value, one a line."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["measure", "unit", "contender", "round", "value"])
        for measure, by_contender in figures.values.items():
            for who, values in by_contender.items():
                for at, value in enumerate(values, 1):
                    out.writerow([measure, MEASURES[measure][1], who, at,
                                  f"{value:.6g}"])


def plot(figures, first, second, path):
    """Ratios of @first to @second with their spread, as SVG.

    To the right is better: where less is better the ratio is turned over.
    """
    rows = []
    for measure, (what, _, _, more) in MEASURES.items():
        values = figures.values.get(measure, {})
        pairs = list(zip(values.get(first, []), values.get(second, [])))
        ratios = sorted((a / b if more else b / a) for a, b in pairs
                        if a > 0 and b > 0)
        if ratios:
            rows.append((what, statistics.median(ratios), ratios[0],
                         ratios[-1]))
    if not rows:
        return False
    data = "\n".join(f'"{what}" {at} {mid} {low} {high}' for at, (
        what, mid, low, high) in enumerate(reversed(rows)))
    script = f"""
set terminal svg size 860,{90 + 34 * len(rows)} font "sans,12" background "white"
set output "{path}"
set title "{first} beside {second}: right of 1 is better"
set xlabel "ratio of the rounds: median, lowest, highest"
set xrange [0:*]
set yrange [-0.6:{len(rows) - 0.4}]
set grid x
set arrow from 1, graph 0 to 1, graph 1 nohead lw 1.5 dt 2
unset key
$rows << END
{data}
END
plot $rows using 3:2:4:5:ytic(1) with xerrorbars pt 7 ps 0.9 lw 1.6
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    return True
