#!/usr/bin/env python3
"""Compares kubelane with nginx, HAProxy and nghttpx as TLS proxies to one mTLS upstream.

The same load through each of them in turn, each on one core, in interleaved rounds; medians. What it
measures and how to read it: bench/README.md. Standard library only; needs nginx, haproxy, nghttpx,
wrk, h2load, curl, taskset and openssl on PATH.
"""

import argparse
import http.client
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

import mix
import plots
import scaling

HERE = pathlib.Path(__file__).resolve().parent
PEERS = ["kubelane", "nginx", "haproxy", "nghttpx"]
SIZES = {"1k": 1 << 10, "64k": 64 << 10, "1m": 1 << 20, "64m": 64 << 20}
CHECKED = ["1k", "64k", "1m"]  # before the measurement


class Scenario:
    """One kind of load. `goal`: kubelane's wanted ratio of CPU per request to `against`. `streams` at
    once per connection: HTTP/2 on the client's side, and upstream where the proxy can. `rate`: requests
    per second and connection; without one, as many as it can."""

    def __init__(self, name, title, tool, size, connections, goal, against, streams=0, rate=0):
        self.name, self.title, self.tool = name, title, tool
        self.size, self.connections = size, connections
        self.goal, self.against = goal, against
        self.streams, self.rate = streams, rate
        self.protocol = "h2" if streams else "h1"


SCENARIOS = [
    Scenario("small", "1 KB, 32 keep-alive connections", "wrk", "1k", 32, 0.85, "best"),
    Scenario("list-64k", "64 KB lists, 8 connections", "wrk", "64k", 8, 0.75, "best"),
    Scenario("list-1m", "1 MB lists, 4 connections", "wrk", "1m", 4, 0.75, "best"),
    Scenario("single", "1 KB, one request at a time", "wrk", "1k", 1, None, "best"),
    Scenario("connect", "1 KB, a new TLS connection per request", "h2load", "1k", 0, 0.85, "nginx"),
    Scenario("h2-small", "HTTP/2, 1 KB, 8 connections of 16 streams", "h2load", "1k", 8, 0.80, "best",
             16),
    Scenario("h2-64k", "HTTP/2, 64 KB lists, 8 connections of 4 streams", "h2load", "64k", 8, 0.80,
             "best", 4),
    Scenario("h2-1m", "HTTP/2, 1 MB lists, 4 connections of 2 streams", "h2load", "1m", 4, 0.75,
             "best", 2),
    Scenario("h2-rate", "HTTP/2, 1 KB, 8 connections, 4,000 requests/s", "h2load", "1k", 8, None, "best",
             16, 500),
]

# What the peers' configurations need to know of a protocol.
PROTOCOLS = {
    "h1": {"ALPN": "http/1.1", "NGINX_HTTP2": "", "NGHTTPX_PROTO": "http/1.1",
           "PROXY_PROTOCOL": "http1"},
    "h2": {"ALPN": "h2", "NGINX_HTTP2": "http2", "NGHTTPX_PROTO": "h2", "PROXY_PROTOCOL": "http2"},
}


# ---------------------------------------------------------------- processes

def free_ports(count):
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in taken]
    for s in taken:
        s.close()
    return ports


def wait_until(what, condition, process, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"gave up waiting for {what}")
        time.sleep(0.02)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Server:
    """A process of the comparison, on its core; ended by its own pid."""

    def __init__(self, name, command, core, port, log):
        self.name, self.port = name, port
        self.log = open(log, "wb")
        self.process = subprocess.Popen(["taskset", "-c", str(core)] + command, stdout=self.log,
                                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            wait_until(name, lambda: listens(port), self.process)
        except RuntimeError as error:
            self.stop()
            raise RuntimeError(f"{error}\n{pathlib.Path(log).read_text(errors='replace')}") from None

    def pids(self):
        """The process and its children (nginx: master and worker)."""
        found = [self.process.pid]
        for pid in found:
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu_seconds(self):
        """User and system time of all threads, from the scheduler's clock (ns)."""
        total = 0
        for pid in self.pids():
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def resident_kib(self):
        """VmRSS of the process that does the work: the largest."""
        sizes = []
        for pid in self.pids():
            match = re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
            sizes.append(int(match.group(1)))
        return max(sizes)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(25)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def render(template, target, values):
    text = (HERE / "peers" / template).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    target.write_text(text)
    return str(target)


class Bench:
    """The upstream and all proxies, started once for each protocol; load is run against one at a
    time."""

    def __init__(self, folder, kubelane, peers, protocols):
        self.folder = folder
        self.kubelane, self.peers, self.protocols = kubelane, peers, protocols
        self.servers = []
        self.proxies = {}  # by name and protocol
        self.scaled = {}  # kubelane by number of workers
        self.tokens = {}  # by protocol
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise RuntimeError("needs two cores: one for the proxy, one for load and upstream")
        # Two cores: load and upstream share one; from three on each has its own.
        self.proxy_core, self.load_core, self.upstream_core = cores[1], cores[0], cores[0]
        if len(cores) > 2:
            self.upstream_core = cores[2]

    def start_all(self, scaled=()):
        folder = self.folder
        (self.upstream_port, self.direct_port, self.status_port, self.watch_port,
         *ports) = free_ports(4 + len(self.peers) * len(self.protocols) + len(scaled))
        self.values = {"DIR": folder, "UPSTREAM": self.upstream_port, "DIRECT": self.direct_port,
                       "STATUS": self.status_port, "WATCH": self.watch_port, "WORKERS": 1}
        subprocess.run([str(HERE / "make_pki.sh"), str(folder), str(self.upstream_port)],
                       check=True)
        write_files(folder / "files")
        self.start("watches", [sys.executable, str(HERE / "watch_server.py"), str(self.watch_port)],
                   self.upstream_core, self.watch_port)
        self.start("upstream", ["nginx", "-c", self.config("upstream.conf")], self.upstream_core,
                   self.upstream_port)
        commands = {
            "kubelane": lambda c: [str(self.kubelane), "start", "-c", c("kubelane.yaml")],
            "nginx": lambda c: ["nginx", "-c", c("nginx.conf")],
            "haproxy": lambda c: ["haproxy", "-db", "-f", c("haproxy.cfg")],
            "nghttpx": lambda c: ["nghttpx", f"--conf={c('nghttpx.conf')}"],
        }
        for protocol in self.protocols:
            self.values.update(PROTOCOLS[protocol], PROTOCOL=protocol)
            for name in self.peers:
                self.values["PORT"] = port = ports.pop()
                self.proxies[name, protocol] = self.start(
                    f"{name}-{protocol}", commands[name](self.config), self.proxy_core, port)
        for workers in scaled:
            self.values.update(PROTOCOLS["h1"], PROTOCOL=f"{workers}-workers", WORKERS=workers)
            self.values["PORT"] = port = ports.pop()
            self.scaled[workers] = server = self.start(
                f"kubelane-{workers}-workers", commands["kubelane"](self.config),
                ",".join(map(str, sorted(os.sched_getaffinity(0)))), port)
            server.token = self.read_token(f"{workers}-workers", server.process)
        for protocol in self.protocols:
            self.tokens[protocol] = (self.read_token(protocol) if "kubelane" in self.peers
                                     else "none")

    def config(self, template):
        target = self.folder / f"{self.values.get('PROTOCOL', '')}{template}"
        return render(template, target, self.values)

    def start(self, name, command, core, port):
        server = Server(name, command, core, port, self.folder / f"{name}.out")
        self.servers.append(server)
        return server

    def read_token(self, protocol, process=None):
        kubeconfig = self.folder / f"kubelane-out-{protocol}" / "kubeconfig.yaml"
        wait_until("kubelane's kubeconfig", kubeconfig.exists,
                   process or self.proxies["kubelane", protocol].process)
        return re.search(r'token: "?([^"\s]+)', kubeconfig.read_text()).group(1)

    def upstream_accepts(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.status_port, timeout=5)
        connection.request("GET", "/")
        text = connection.getresponse().read().decode()
        return int(text.split("requests")[1].split()[0])

    def check_http2(self, name):
        """The same for HTTP/2: both legs, but for nginx, which has none upstream."""
        def get(path):
            return subprocess.run(
                ["curl", "-sk", "--noproxy", "*", "--http2", "-w", "\n%{http_version}", "-H",
                 f"Authorization: Bearer {self.tokens['h2']}",
                 f"https://127.0.0.1:{self.proxies[name, 'h2'].port}{path}"],
                capture_output=True, check=False).stdout

        wait_until(f"{name} to reach the upstream", lambda: b"SUCCESS" in get("/check"),
                   self.proxies[name, "h2"].process)
        upstream = get("/check").decode()
        wanted = "HTTP/1.1" if name == "nginx" else "HTTP/2.0"
        problems = []
        if not upstream.startswith("TLSv1.3 TLS_AES_128_GCM_SHA256 SUCCESS"):
            problems.append(f"upstream side is {upstream}")
        if wanted not in upstream or not upstream.endswith("\n2"):
            problems.append(f"not HTTP/2 on both legs: {upstream}")
        for size in CHECKED:
            if get(f"/{size}")[:-2] != (self.folder / "files" / size).read_bytes():
                problems.append(f"/{size} is not what the upstream has")
        if problems:
            raise RuntimeError(f"{name}: " + "; ".join(problems))

    def check(self, name):
        """Every proxy must do the same job: TLS 1.3 with AES-128-GCM twice, our certificate
        upstream, the very bytes, the connection kept."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        port = self.proxies[name, "h1"].port
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)

        def get(path):
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.tokens['h1']}"})
            answer = connection.getresponse()
            return answer.status, answer.read()

        wait_until(f"{name} to reach the upstream", lambda: get("/check")[0] == 200,
                   self.proxies[name, "h1"].process)
        local = connection.sock.cipher()
        upstream = get("/check")[1].decode()
        problems = []
        if (local[1], local[0]) != ("TLSv1.3", "TLS_AES_128_GCM_SHA256"):
            problems.append(f"local side is {local[1]} {local[0]}")
        if not upstream.startswith("TLSv1.3 TLS_AES_128_GCM_SHA256 SUCCESS"):
            problems.append(f"upstream side is {upstream}")
        if "CN=bot-bench" not in upstream:
            problems.append("another client certificate")
        kept = connection.sock
        for size in CHECKED:
            if get(f"/{size}") != (200, (self.folder / "files" / size).read_bytes()):
                problems.append(f"/{size} is not what the upstream has")
        if connection.sock is not kept:
            problems.append("the local connection is not kept")
        if problems:
            raise RuntimeError(f"{name}: " + "; ".join(problems))

    # ------------------------------------------------------------ load

    def load(self, command):
        # A host with a proxy in its environment must not send the load there.
        environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        result = subprocess.run(["taskset", "-c", str(self.load_core)] + command,
                                capture_output=True, text=True, env=environment, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"{command[0]} failed: {result.stdout}{result.stderr}")
        return result.stdout

    def wrk(self, port, scenario, seconds, token=None):
        token = token or self.tokens["h1"]
        text = self.load(["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--latency",
                          "--timeout", "10s", "-H", f"Authorization: Bearer {token}",
                          f"https://127.0.0.1:{port}/{scenario.size}"])
        if "Non-2xx" in text or "Socket errors" in text:
            raise RuntimeError(f"failed requests: {text}")

        def percentile(which):
            return micros(re.search(rf"^\s+{which}%\s+(\S+)", text, re.M).group(1))

        return {"requests": int(re.search(r"(\d+) requests in", text).group(1)),
                "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)),
                "p50_us": percentile(50), "p99_us": percentile(99)}

    def h2load(self, port, scenario, seconds):
        # A full handshake each (h2load resumes no sessions), at a rate that every peer can take.
        count = int(300 * seconds)
        text = self.load(["h2load", "--h1", "-n", str(count), "-c", str(count), "-r", "12",
                          "--rate-period=40ms", "-H", f"Authorization: Bearer {self.tokens['h1']}",
                          f"https://127.0.0.1:{port}/{scenario.size}"])
        if f" {count} succeeded, 0 failed" not in text:
            raise RuntimeError(f"failed requests: {text}")
        # "time to 1st byte" counts from the start of the connect; h2load gives no percentiles.
        mean = re.search(r"time to 1st byte:\s+\S+\s+\S+\s+(\S+)", text).group(1)
        return {"requests": count, "rps": None, "p50_us": None, "p99_us": None,
                "mean_us": micros(mean)}

    def h2load_streams(self, port, scenario, seconds):
        log = self.folder / "h2load.log"
        log.unlink(missing_ok=True)
        text = self.load(["h2load", "-t1", f"-c{scenario.connections}", f"-m{scenario.streams}",
                          f"-D{seconds}", f"--log-file={log}"] +
                         ([f"--rps={scenario.rate}"] if scenario.rate else []) +
                         ["-H", f"Authorization: Bearer {self.tokens['h2']}",
                          f"https://127.0.0.1:{port}/{scenario.size}"])
        failed, bad = re.search(r"(\d+) failed, \d+ errored", text), re.search(r"(\d+) 2xx", text)
        count = int(re.search(r"requests: \d+ total, \d+ started, (\d+) done", text).group(1))
        if int(failed.group(1)) or int(bad.group(1)) < count:
            raise RuntimeError(f"failed requests: {text}")
        times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
        return {"requests": count, "rps": count / seconds, "p50_us": times[len(times) // 2],
                "p99_us": times[len(times) * 99 // 100]}

    def measure(self, name, scenario, seconds):
        proxy = self.proxies[name, scenario.protocol]
        run = self.wrk if scenario.tool == "wrk" else self.h2load
        if scenario.streams:
            run = self.h2load_streams
        # Unmeasured: fills the pools, so that nobody pays for connections that idled away.
        run(proxy.port, scenario, 0.2 if scenario.name == "connect" else 1)
        accepts, cpu = self.upstream_accepts(), proxy.cpu_seconds()
        result = run(proxy.port, scenario, seconds)
        result["cpu_us"] = (proxy.cpu_seconds() - cpu) * 1e6 / result["requests"]
        # One of them is our own question.
        result["upstream_connections"] = self.upstream_accepts() - accepts - 1
        result["rss_mib"] = proxy.resident_kib() / 1024
        return result

    def measure_direct(self, scenario, seconds):
        return self.wrk(self.direct_port, scenario, seconds)

    def stop(self):
        for server in reversed(self.servers):
            server.stop()


def write_files(folder):
    """Lists of Pods as JSON, cut to size: what proxies of Kubernetes mostly carry."""
    folder.mkdir()
    folder.chmod(0o755)
    item = json.dumps({"kind": "Pod", "metadata": {"name": "web-7c9f8d6b5-x2x4z",
                                                   "namespace": "default",
                                                   "labels": {"app": "web", "tier": "front"}},
                       "status": {"phase": "Running", "podIP": "10.0.0.17"}})
    for name, size in SIZES.items():
        path = folder / name
        path.write_text((item * (size // len(item) + 1))[:size])
        path.chmod(0o644)


def micros(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[unit]


# ---------------------------------------------------------------- results

def median(runs, key):
    values = [run[key] for run in runs if run.get(key) is not None]
    return statistics.median(values) if values else None


def medians(runs):
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def spread(runs, key):
    """Half the distance between the quartiles, as a share of the median: how noisy it was."""
    values = sorted(run[key] for run in runs)
    if len(values) < 4:
        return None
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / middle


def summarise(results, scenarios, peers):
    keys = ["cpu_us", "rps", "p50_us", "p99_us", "mean_us", "rss_mib", "upstream_connections"]
    summary = {}
    for scenario in scenarios:
        summary[scenario.name] = {}
        for name in peers + ["direct"]:
            runs = results[scenario.name].get(name)
            if runs:
                summary[scenario.name][name] = {key: median(runs, key) for key in keys}
                if name != "direct":
                    summary[scenario.name][name]["cpu_spread"] = spread(runs, "cpu_us")
    return summary


def number(value, digits=1):
    return "–" if value is None else f"{value:,.{digits}f}"


def added_latency(rows, name):
    return rows[name]["p50_us"] - rows["direct"]["p50_us"]


def verdicts(summary, scenarios):
    """kubelane's ratios against what was wanted."""
    lines = []
    for scenario in scenarios:
        rows = {k: v for k, v in summary[scenario.name].items() if k != "direct"}
        others = [name for name in rows if name != "kubelane"]
        if "kubelane" not in rows or not others:
            continue
        if scenario.name == "single":
            all_rows = summary[scenario.name]
            best = min(others, key=lambda name: rows[name]["p50_us"])
            mine, theirs = added_latency(all_rows, "kubelane"), added_latency(all_rows, best)
            lines.append(f"{scenario.title}: {mine:.0f} µs added to the median, {best} adds "
                         f"{theirs:.0f} µs (wanted: no more): "
                         f"{'met' if mine <= theirs else 'MISSED'}")
            continue
        if scenario.rate:
            best = min(others, key=lambda name: rows[name]["p99_us"])
            mine, theirs = rows["kubelane"]["p99_us"], rows[best]["p99_us"]
            lines.append(f"{scenario.title}: p99 {mine:,.0f} µs, {best}'s {theirs:,.0f} µs (wanted: no "
                         f"more): {'met' if mine <= theirs else 'MISSED'}")
            continue
        against = scenario.against
        if against == "best":
            against = min(others, key=lambda name: rows[name]["cpu_us"])
        if against not in rows:
            continue
        ratio = rows["kubelane"]["cpu_us"] / rows[against]["cpu_us"]
        lines.append(f"{scenario.title}: {ratio:.2f} × the CPU of {against} "
                     f"(wanted: ≤ {scenario.goal}): {'met' if ratio <= scenario.goal else 'MISSED'}")
    return lines


def table(summary, scenarios, peers):
    lines = ["| load | proxy | CPU per request, µs | ± | × best peer | requests/s | p50, µs | p99, µs "
             "| RSS, MiB |", "|---|---|--:|--:|--:|--:|--:|--:|--:|"]
    for scenario in scenarios:
        rows = summary[scenario.name]
        best = min((rows[name]["cpu_us"] for name in peers if name != "kubelane" and name in rows),
                   default=None)
        for name in peers:
            row = rows[name]
            ratio = "–" if best is None else f"{row['cpu_us'] / best:.2f}"
            noise = "–" if row["cpu_spread"] is None else f"{row['cpu_spread'] * 100:.0f} %"
            p50 = number(row["p50_us"], 0)
            if row["mean_us"] is not None:
                p50 = f"{number(row['mean_us'], 0)} (mean)"
            lines.append(f"| {scenario.title} | {name} | {number(row['cpu_us'])} | {noise} | {ratio} "
                         f"| {number(row['rps'], 0)} | {p50} | {number(row['p99_us'], 0)} "
                         f"| {number(row['rss_mib'])} |")
        if "direct" in rows:
            row = rows["direct"]
            lines.append(f"| {scenario.title} | no proxy | – | – | – | {number(row['rps'], 0)} "
                         f"| {number(row['p50_us'], 0)} | {number(row['p99_us'], 0)} | – |")
    return "\n".join(lines)


def version(command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return (result.stdout + result.stderr).strip().splitlines()[0]


def machine(kubelane, peers):
    model = "unknown CPU"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    commands = {"kubelane": [str(kubelane), "version"], "nginx": ["nginx", "-v"],
                "haproxy": ["haproxy", "-v"], "nghttpx": ["nghttpx", "--version"]}
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "openssl": version(["openssl", "version"]),
            "versions": {name: version(commands[name]) for name in peers}}


def describe(facts):
    versions = ", ".join(facts["versions"].values())
    return (f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, {facts['openssl']}; "
            f"{versions}")


# ---------------------------------------------------------------- main

def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kubelane", type=pathlib.Path, default="build/release/kubelane")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3, help="of load per measurement")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--scenarios",
                        default=",".join([s.name for s in SCENARIOS] + [mix.NAME, scaling.NAME]))
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "build" / "bench",
                        help="folder for results.json, table.md and the plots")
    arguments = parser.parse_args()
    arguments.peers = arguments.peers.split(",")
    wanted = arguments.scenarios.split(",")
    known = {s.name for s in SCENARIOS} | {mix.NAME, scaling.NAME}
    unknown = set(arguments.peers) - set(PEERS) | set(wanted) - known
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    arguments.scenarios = [s for s in SCENARIOS if s.name in wanted]
    arguments.mix = mix.NAME in wanted
    arguments.workers = (1, 2) if scaling.NAME in wanted and "kubelane" in arguments.peers else ()
    arguments.kubelane = arguments.kubelane.resolve()
    return arguments


def rotate(names, by):
    by %= max(1, len(names))
    return names[by:] + names[:by]


def run_rounds(bench, arguments):
    results = {scenario.name: {} for scenario in arguments.scenarios}
    whole_seconds = max(1, round(arguments.seconds))
    for turn in range(arguments.rounds):
        print(f"round {turn + 1} of {arguments.rounds}", file=sys.stderr)
        for scenario in arguments.scenarios:
            seconds = arguments.seconds if scenario.name == "connect" else whole_seconds
            for name in rotate(arguments.peers, turn):
                result = bench.measure(name, scenario, seconds)
                results[scenario.name].setdefault(name, []).append(result)
                print(f"  {scenario.name:9} {name:9} {result['cpu_us']:8.1f} µs/request, "
                      f"{result['upstream_connections']} new upstream connections",
                      file=sys.stderr)
            if scenario.name == "single":
                results[scenario.name].setdefault("direct", []).append(
                    bench.measure_direct(scenario, seconds))
        if arguments.mix:
            for name in rotate(arguments.peers + ["direct"], turn):
                result = mix.measure(bench, name, whole_seconds)
                results.setdefault(mix.NAME, {}).setdefault(name, []).append(result)
                print(f"  {mix.NAME:9} {name:9} p99 {result['without_p99_us']} µs, with bulk "
                      f"{result['p99_us']} µs", file=sys.stderr)
        for workers in rotate(list(arguments.workers), turn):
            result = scaling.measure(bench, workers, whole_seconds)
            results.setdefault(scaling.NAME, {}).setdefault(workers, []).append(result)
            print(f"  {scaling.NAME:9} {workers}         {result['capacity_rps']:.0f} requests/s of "
                  "CPU of the busiest", file=sys.stderr)
    return results


def write_results(arguments, results):
    summary = summarise(results, arguments.scenarios, arguments.peers)
    facts = machine(arguments.kubelane, arguments.peers)
    lines = [table(summary, arguments.scenarios, arguments.peers), ""]
    said = verdicts(summary, arguments.scenarios)
    for part in (mix, scaling):
        if part.NAME in results:
            rows = {key: medians(runs) for key, runs in sorted(results[part.NAME].items())}
            lines += [part.table(rows), ""]
            if part is scaling:
                said.append(part.verdict(rows))
            elif "kubelane" in rows:
                said.append(part.verdict(rows["kubelane"]))
            summary[part.NAME] = rows
    lines += [f"- {line}" for line in said]
    lines += ["", f"{arguments.rounds} interleaved rounds, medians. {describe(facts)}.", ""]
    text = "\n".join(lines)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "table.md").write_text(text)
    (arguments.out / "results.json").write_text(
        json.dumps({"machine": facts, "summary": summary, "rounds": results}, indent=1) + "\n")
    for name, drawing in plots.draw_all(summary, arguments.scenarios, arguments.peers).items():
        (arguments.out / name).write_text(drawing)
    print(text)
    print(f"written to {arguments.out}", file=sys.stderr)


def main():
    arguments = parse_arguments()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for tool in ["wrk", "h2load", "curl", "taskset", "openssl", "nginx"] + arguments.peers:
        if tool != "kubelane" and shutil.which(tool) is None:
            sys.exit(f"bench: {tool} is not installed; ./dev bench installs it")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="kubelane-bench-", dir=memory) as folder:
        # nginx started as root serves files as another user.
        pathlib.Path(folder).chmod(0o711)
        protocols = sorted({scenario.protocol for scenario in arguments.scenarios} |
                           ({"h2"} if arguments.mix else set()) |
                           ({"h1"} if arguments.workers else set()))
        bench = Bench(pathlib.Path(folder), arguments.kubelane, arguments.peers, protocols)
        try:
            bench.start_all(arguments.workers)
            for name in arguments.peers:
                if "h1" in protocols:
                    bench.check(name)
                if "h2" in protocols:
                    bench.check_http2(name)
            results = run_rounds(bench, arguments)
        except RuntimeError as error:
            sys.exit(f"bench: {error}")
        finally:
            bench.stop()
    write_results(arguments, results)


if __name__ == "__main__":
    main()
