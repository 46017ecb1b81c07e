"""Small GETs next to bulk downloads and watches: what a deploy feels while somebody else copies
gigabytes. Two measurements each time, with and without the bulk; the difference is the proxy's, the
server's and the load tools' together. So that the last two don't decide, the bulk has a pace, twice
what a gigabit link carries, and comes last on its core; "direct" shows the same without a proxy."""

import json
import signal
import subprocess
import time
import urllib.request

WATCHES = 200
BULK = 4
BULK_MIB_PER_SECOND = 60  # each
GETS_PER_SECOND = 500
GET_CONNECTIONS = 5
NAME = "mix"
TITLE = (f"HTTP/2, {GETS_PER_SECOND} GETs/s of 1 KB, with {WATCHES} watches of 10 events/s, without and "
         f"with {BULK} bulk downloads of {BULK_MIB_PER_SECOND} MiB/s")
MOST_TIMES = 3
MOST_ADDED_US = 5000


def start(bench, command, nice=0, output=subprocess.DEVNULL):
    return subprocess.Popen(["nice", "-n", str(nice), "taskset", "-c", str(bench.load_core)] + command,
                            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def token(bench):
    return ["-H", f"Authorization: Bearer {bench.tokens['h2']}"]


def start_watches(bench, port):
    return start(bench, ["h2load", "-t1", "-c10", f"-m{WATCHES // 10}", f"-n{WATCHES}"] +
                 token(bench) + [f"https://127.0.0.1:{port}/watch"])


def start_bulk(bench, port, output):
    """One client, one connection, one download after the other."""
    return start(bench, ["curl", "-sk", "--noproxy", "*", "--http2", "--limit-rate",
                         f"{BULK_MIB_PER_SECOND}M", "-o", "/dev/null", "-w", "%{stderr}%{size_download}\n"] +
                 token(bench) + [f"https://127.0.0.1:{port}/64m?[1-100000]"], 19, output)


def stop_load(process):
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


def watches(bench):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{bench.watch_port}/count", timeout=5) as answer:
        return json.load(answer)


def gets(bench, port, seconds):
    """Times of GETs at a steady rate, µs, sorted."""
    log = bench.folder / "mix.log"
    log.unlink(missing_ok=True)
    text = bench.load(["h2load", "-t1", f"-c{GET_CONNECTIONS}", "-m10", f"-D{seconds}",
                       f"--rps={GETS_PER_SECOND // GET_CONNECTIONS}", f"--log-file={log}"] +
                      token(bench) + [f"https://127.0.0.1:{port}/1k"])
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    if not rows or any(row[1] != "200" for row in rows):
        raise RuntimeError(f"failed requests: {text}")
    return sorted(int(row[2]) for row in rows)


def await_watches(bench, condition):
    deadline = time.monotonic() + 20
    while not condition(watches(bench)["watches"]):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{watches(bench)['watches']} watches run, not as wanted")
        time.sleep(0.05)


def measure(bench, name, seconds):
    port = bench.direct_port if name == "direct" else bench.proxies[name, "h2"].port
    begun = []
    try:
        begun.append(start_watches(bench, port))
        await_watches(bench, lambda count: count == WATCHES)
        gets(bench, port, 1)
        without = gets(bench, port, seconds)
        bulk_output = bench.folder / "mix-bulk.out"
        with open(bulk_output, "w", encoding="utf-8") as output:
            begun += [start_bulk(bench, port, output) for _ in range(BULK)]
        bulk_since = time.monotonic()
        gets(bench, port, 1)
        sent, since = watches(bench)["events"], time.monotonic()
        mixed = gets(bench, port, seconds)
        passed = time.monotonic() - since
        after = watches(bench)
        if any(process.poll() is not None for process in begun):
            raise RuntimeError(f"{name}: watches or bulk downloads ended")
        if after["watches"] != WATCHES:
            raise RuntimeError(f"{name}: {after['watches']} of {WATCHES} watches run")
        # Whole downloads only: a little less than there was.
        downloads = bulk_output.read_text().split()
        bulk_mib = sum(map(int, downloads)) / (1 << 20) / (time.monotonic() - bulk_since)
        return {"without_p50_us": without[len(without) // 2],
                "without_p99_us": without[len(without) * 99 // 100],
                "p50_us": mixed[len(mixed) // 2], "p99_us": mixed[len(mixed) * 99 // 100],
                "events_per_second": (after["events"] - sent) / passed,
                "bulk_mib_per_second": bulk_mib}
    finally:
        for process in begun:
            stop_load(process)
        await_watches(bench, lambda count: count == 0)


def verdict(row):
    ratio = row["p99_us"] / row["without_p99_us"]
    added = row["p99_us"] - row["without_p99_us"]
    met = ratio <= MOST_TIMES and added <= MOST_ADDED_US
    return (f"{TITLE}: p99 {row['without_p99_us']:,.0f} µs without, {row['p99_us']:,.0f} µs with the bulk: "
            f"{ratio:.1f} ×, {added / 1000:+.1f} ms (wanted: ≤ {MOST_TIMES} × and ≤ "
            f"{MOST_ADDED_US // 1000} ms more): {'met' if met else 'MISSED'}")


def table(rows):
    lines = ["| mix, proxy | p50 / p99 without bulk, µs | p50 / p99 with bulk, µs | bulk, MiB/s | "
             "events/s |", "|---|--:|--:|--:|--:|"]
    for name, row in rows.items():
        lines.append(f"| {name} | {row['without_p50_us']:,.0f} / {row['without_p99_us']:,.0f} "
                     f"| {row['p50_us']:,.0f} / {row['p99_us']:,.0f} "
                     f"| {row['bulk_mib_per_second']:,.0f} | {row['events_per_second']:,.0f} |")
    return "\n".join(lines)
