"""Time calls beside one another."""

import statistics
import time


def measure(calls, repeats):
    """Return the median time of each call in seconds, all called in turn."""
    for call in calls.values():
        call()
    times = {label: [] for label in calls}
    for _ in range(repeats):
        for label, call in calls.items():
            start = time.perf_counter()
            call()
            times[label].append(time.perf_counter() - start)
    return {label: statistics.median(found) for label, found in times.items()}
