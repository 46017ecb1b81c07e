#!/usr/bin/env python3
"""Fails on an #include that points upward, and on a few things that belong in one folder only."""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent

# What each folder may include besides itself.
ALLOWED = {
    "config": set(),
    "tls": {"config"},
    "proxy/observe": {"config"},
    "proxy/http": {"config"},
    "proxy/runtime": {"config", "tls", "proxy/observe"},
    "proxy/host": {"config", "tls", "proxy/observe", "proxy/runtime"},
    "proxy/link": {"config", "tls", "proxy/observe", "proxy/http", "proxy/runtime"},
    "proxy/relay": {"config", "tls", "proxy/observe", "proxy/http", "proxy/runtime", "proxy/link"},
    "proxy/teleport": {"config", "tls", "proxy/observe", "proxy/http", "proxy/runtime",
                       "proxy/link", "proxy/teleport/proto"},
    "proxy/kube": {"config", "tls", "proxy/observe", "proxy/http", "proxy/runtime"},
    "proxy/admin": {"config", "tls", "proxy/observe", "proxy/runtime", "proxy/link"},
    "proxy/cli": {"config", "tls", "proxy/observe"},
    "proxy": {"config", "tls", "proxy/observe", "proxy/http", "proxy/runtime", "proxy/link",
              "proxy/relay", "proxy/teleport", "proxy/kube", "proxy/host",
              "proxy/admin", "proxy/cli"},
}

# pattern, folders where it is at home, why it is banned elsewhere
BANS = [
    (r"#include <boost/asio", ["proxy/runtime", "proxy/host", "proxy/admin", "proxy/cli",
                              "proxy/teleport", "proxy"],
     "Asio runs the control thread only"),
    (r"#include <openssl/", ["tls", "proxy/kube", "proxy/relay", "proxy/teleport"],
     "OpenSSL stays behind tls/"),
    (r"\bSSL_(read|write|new|do_handshake)", ["tls"], "TLS I/O stays in tls/stream.cpp"),
    (r"std::regex", [], "regular expressions on hostile input take exponential time"),
    (r"(?<![\w:])new [A-Za-z_]", [], "owning raw pointers"),
    (r"\busing namespace std\b", [], "names"),
    (r"sleep_for|usleep\(|[^_a-z]sleep\(", [], "waits have a deadline and an event"),
]


def folder_of(path):
    parent = path.parent.relative_to(TOP).as_posix()
    return parent if parent in ALLOWED else None


def strip_comments(text):
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def check():
    problems = []
    count = 0
    for path in sorted(TOP.rglob("*.[ch]pp")):
        folder = folder_of(path)
        if folder is None:
            continue
        count += 1
        where = path.relative_to(TOP)
        text = path.read_text()
        for match in re.finditer(r'^#include "([^"]+)"', text, re.M):
            target = pathlib.PurePosixPath(match.group(1)).parent.as_posix()
            if target != folder and target not in ALLOWED[folder]:
                problems.append(f"{where}: includes {match.group(1)}, which is not below {folder}")
        code = strip_comments(text)
        for pattern, home, why in BANS:
            if folder not in home and re.search(pattern, code):
                problems.append(f"{where}: {pattern} ({why})")
    return count, problems


def main():
    count, problems = check()
    for problem in problems:
        print(problem)
    if count == 0:
        print("no source files found")
        return 1
    print(f"{count} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
