# SPDX-License-Identifier: GPL-2.0
"""Which lanes run at the same time?

Each lane says how many processors of this host it keeps busy, which may be a
part of one. Lanes start in their order, and one that finds room goes ahead of
those that find none. What builds takes the whole host.
"""

import os
import queue
import threading

WHOLE = 1 << 10


def run(lanes, work, processors=None):
    """(lane, work(lane)) of each lane, as they end.

    What work() raises is raised here; other lanes are left to end with the
    process.
    """
    free = processors or os.cpu_count()
    room = {lane: min(lane.processors, free) for lane in lanes}
    waiting, ended = list(lanes), queue.SimpleQueue()
    for _ in lanes:
        for lane in list(waiting):
            if room[lane] <= free:
                waiting.remove(lane)
                free -= room[lane]
                threading.Thread(target=_work, args=(work, lane, ended),
                                 daemon=True).start()
        lane, outcome, error = ended.get()
        if error:
            raise error
        free += room[lane]
        yield lane, outcome


def _work(work, lane, ended):
    """Put what came of one lane on a queue."""
    try:
        ended.put((lane, work(lane), None))
    except Exception as err:  # pylint: disable=broad-exception-caught
        ended.put((lane, None, err))
