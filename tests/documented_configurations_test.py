#!/usr/bin/env python3
"""Every kubelane.yaml in deploy/ and in the documents is one that `kubelane check` accepts without a
warning, and so are the arguments that manifests give kubelane.
usage: documented_configurations_test.py KUBELANE"""

import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap

TOP = pathlib.Path(__file__).resolve().parent.parent
KUBELANE = sys.argv[1]
CONFIGURED_AT = "/etc/kubelane/kubelane.yaml"


def configurations():
    """(where, text) of each configuration: files, those in ConfigMaps, those in documents."""
    for path in sorted((TOP / "deploy").rglob("kubelane.yaml")):
        yield path, path.read_text()
    for path in sorted((TOP / "deploy").rglob("*.yaml")):
        for block in re.findall(r"^( +)kubelane\.yaml: \|\n((?:\1 +.*\n|\n)+)", path.read_text(), re.M):
            yield path, textwrap.dedent(block[1])
    for path in [TOP / "README.md", *sorted((TOP / "deploy").rglob("*.md"))]:
        for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.M | re.S):
            if "proxy_server:" in block:
                yield path, block


def arguments():
    """(where, arguments) of each start of kubelane in a manifest, without the configuration."""
    for path in sorted((TOP / "deploy").rglob("*.yaml")):
        for line in re.findall(r"args: \[start, (.*)\]", path.read_text()):
            words = [word.strip() for word in line.split(",")]
            if words[:2] != ["-c", CONFIGURED_AT]:
                sys.exit(f"{path}: starts with {words[:2]}")
            yield path, words[2:]


def problems(text, more):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "kubelane.yaml"
        file.write_text(text)
        ran = subprocess.run([KUBELANE, "check", "-c", file, *more], env={}, capture_output=True,
                             text=True)
    return ran.stderr if ran.returncode != 0 or ran.stderr else ""


def main():
    found = list(configurations())
    started = list(arguments())
    if len(found) < 6 or len(started) < 3:
        sys.exit("hardly anything was found: do the patterns still fit?")
    failed = 0
    for where, text in found:
        said = problems(text, [])
        if said:
            failed += 1
            print(f"{where.relative_to(TOP)}: {said}\n{textwrap.indent(text, '    ')}")
    for where, more in started:
        said = problems(found[0][1], more)
        if said:
            failed += 1
            print(f"{where.relative_to(TOP)}: {shlex.join(more)}: {said}")
    print(f"{len(found)} configurations, {len(started)} command lines, {failed} refused")
    sys.exit(1 if failed else 0)


main()
