"""Bar charts as SVG, written by hand: readable on light and dark pages, no dependencies."""

from xml.sax.saxutils import escape

COLOURS = {"kubelane": "#1f77b4", "nginx": "#2ca02c", "haproxy": "#9467bd", "nghttpx": "#ff7f0e",
           "direct": "#7f7f7f"}
WIDTH, BAR, GAP, LEFT, RIGHT = 760, 18, 16, 230, 90
STYLE = ("text{font:13px system-ui,sans-serif;fill:#333}.t{font-size:15px;font-weight:600}"
         ".n{fill:#777}@media(prefers-color-scheme:dark){text{fill:#ddd}.n{fill:#aaa}}")


def bars(title, note, groups, unit, digits=1):
    """groups: (label, [(peer, value, value to show or None)]). Each group has its own scale, so that
    loads of very different size stand in one picture."""
    body, y = [], 58
    for label, rows in groups:
        rows = [row for row in rows if row[1] is not None]
        if not rows:
            continue
        top = max(value for _, value, _ in rows)
        body.append(f'<text x="{LEFT - 90}" y="{y + len(rows) * BAR / 2 + 4:.0f}" '
                    f'text-anchor="end">{escape(label)}</text>')
        for peer, value, shown in rows:
            length = (WIDTH - LEFT - RIGHT) * value / top if top > 0 else 0
            text = shown or f"{value:,.{digits}f} {unit}"
            body.append(f'<text class="n" x="{LEFT - 8}" y="{y + 13}" text-anchor="end">'
                        f'{escape(peer)}</text>'
                        f'<rect x="{LEFT}" y="{y + 2}" width="{length:.1f}" height="{BAR - 4}" '
                        f'rx="2" fill="{COLOURS[peer]}"/>'
                        f'<text x="{LEFT + length + 6:.1f}" y="{y + 13}">{escape(text)}</text>')
            y += BAR
        y += GAP
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
            f'viewBox="0 0 {WIDTH} {y}"><style>{STYLE}</style>'
            f'<text class="t" x="12" y="24">{escape(title)}</text>'
            f'<text class="n" x="12" y="42">{escape(note)}</text>' + "".join(body) + "</svg>\n")


def short(scenario):
    return {"small": "1 KB × 32", "list-64k": "64 KB × 8", "list-1m": "1 MB × 4",
            "single": "1 KB × 1", "connect": "new TLS", "h2-small": "h2, 1 KB × 128",
            "h2-64k": "h2, 64 KB × 32", "h2-1m": "h2, 1 MB × 8",
            "h2-rate": "h2, 4,000/s"}[scenario.name]


def draw_all(summary, scenarios, peers):
    def groups(key, names):
        return [(short(s), [(name, summary[s.name][name][key], None) for name in names
                            if name in summary[s.name]]) for s in scenarios]

    latency = []
    for scenario in scenarios:
        rows = summary[scenario.name]
        for key, label in (("p50_us", "p50"), ("p99_us", "p99")):
            latency.append((f"{short(scenario)}, {label}",
                            [(name, rows[name][key], None) for name in peers + ["direct"]
                             if name in rows]))
    scale = "median of the rounds; each group has its own scale"
    return {
        "cpu.svg": bars("CPU time of the proxy per request", f"less is better; {scale}",
                        groups("cpu_us", peers), "µs"),
        "throughput.svg": bars("Requests per second", f"more is better; {scale}",
                               groups("rps", peers), "/s", 0),
        "latency.svg": bars("Latency as the client sees it", f"less is better; {scale}", latency,
                            "µs", 0),
        "memory.svg": bars("Resident memory after the load", f"less is better; {scale}",
                           groups("rss_mib", peers), "MiB"),
    }
