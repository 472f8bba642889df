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
FLOOR = "loop2k"


class Figures:
    """Values by measure and contender, one a round."""

    def __init__(self):
        self.values = {}

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
        if row == FLOOR:
            self.floor = cpu_seconds / (fact["bytes"] / 1e9)

    floor = None

    def close_round(self):
        """What takes more than one load to tell."""
        for who, values in self.values.get("tcp1 cpu", {}).items():
            if self.floor is not None:
                self.add("tcp1 cpu net", who, values[-1] - self.floor)

    def median(self, measure, contender):
        """The median, or None when it was not measured."""
        values = self.values.get(measure, {}).get(contender)
        return statistics.median(values) if values else None

    def ratio(self, measure, first, second):
        """Median of the ratios, pair by pair: @first to @second."""
        pairs = list(zip(self.values.get(measure, {}).get(first, []),
                         self.values.get(measure, {}).get(second, [])))
        if not pairs or not all(b for _, b in pairs):
            return None
        return statistics.median(a / b for a, b in pairs)

    def contenders(self, measure):
        """Who was measured, in the order of the turns."""
        return list(self.values.get(measure, {}))


# what the fabric has to carry to be worth measuring on:
# (what, measure and contender above, those below, at least)
TARGETS = [
    ("stock over the fabric beside veth, one flow, offloads off",
     ("tcp1-bare", "stock"), ("tcp1-bare", "veth"), 0.5),
    ("two opposite flows beside one, stock, offloads off",
     ("tcp2-bare", "stock"), ("tcp1-bare", "stock"), 1.6),
    ("the same with each flow on a processor of its own",
     ("tcp2-kept", "stock"), ("tcp1-kept", "stock"), 1.6),
]


def targets(figures):
    """A line for each target that was measured."""
    lines = []
    for what, above, below, least in TARGETS:
        first, second = figures.median(*above), figures.median(*below)
        if first and second:
            ratio = first / second
            lines.append(f"{what}: {ratio:.2f}, wanted {least} "
                         f"({'met' if ratio >= least else 'MISSED'})")
    return lines


def number(value):
    """Four digits are enough of any figure."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(figures, first, second):
    """The table as lines."""
    lines = [f"{'':40} {'unit':10} {'contender':14} {'median':>10} "
             f"{'lowest':>10} {'highest':>10}  {first}/{second}"]
    for measure, (what, unit, _, _) in MEASURES.items():
        for at, who in enumerate(figures.contenders(measure)):
            values = figures.values[measure][who]
            ratio = figures.ratio(measure, first, second) \
                if who == first else None
            lines.append(
                f"{what if not at else '':40} {unit if not at else '':10} "
                f"{who:14} {number(statistics.median(values)):>10} "
                f"{number(min(values)):>10} {number(max(values)):>10}  "
                f"{f'{ratio:.3f}' if ratio else ''}".rstrip())
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
