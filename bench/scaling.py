"""Does a second worker carry as much as the first? On two cores the load tool and the server need the
same cores, so requests per second would measure them: what is compared is how many requests the
busiest worker's CPU time is good for, which is the throughput on cores of its own. Work that threads
do for each other, and a load that is spread unevenly, show in it."""

import pathlib

NAME = "workers"
TITLE = "1 KB, 64 keep-alive connections, 2 workers against 1"
CONNECTIONS = 64
WANTED = 1.7


class Load:
    """What Bench.wrk() wants to know."""
    size, connections = "1k", CONNECTIONS


def busy_seconds(server):
    """CPU time of each thread."""
    found = {}
    for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        found[task.name] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return found


def measure(bench, workers, seconds):
    server = bench.scaled[workers]
    bench.wrk(server.port, Load, 1, server.token)
    before = busy_seconds(server)
    result = bench.wrk(server.port, Load, seconds, server.token)
    after = busy_seconds(server)
    spent = sorted((after[task] - before.get(task, 0) for task in after), reverse=True)
    return {"requests": result["requests"], "rps": result["rps"], "cpu_us":
            sum(spent) * 1e6 / result["requests"], "busiest_share": spent[0] / sum(spent),
            "capacity_rps": result["requests"] / spent[0]}


def verdict(rows):
    ratio = rows[2]["capacity_rps"] / rows[1]["capacity_rps"]
    return (f"{TITLE}: {ratio:.2f} × the requests per second of CPU of the busiest worker "
            f"(wanted: ≥ {WANTED}): {'met' if ratio >= WANTED else 'MISSED'}")


def table(rows):
    lines = ["| workers | CPU per request, µs | the busiest worker's share | requests per second of its CPU "
             "|", "|---|--:|--:|--:|"]
    for workers, row in rows.items():
        lines.append(f"| {workers} | {row['cpu_us']:.1f} | {row['busiest_share'] * 100:.0f} % "
                     f"| {row['capacity_rps']:,.0f} |")
    return "\n".join(lines)
