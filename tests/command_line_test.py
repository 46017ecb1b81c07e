#!/usr/bin/env python3
"""What the binary prints about itself: --help, man page, completions, unit file; and the README.

usage: command_line_test.py KUBELANE
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent
KUBELANE = sys.argv[1] if len(sys.argv) > 1 else ""

COMMANDS = [[], ["start"], ["start", "kubernetes"], ["start", "kubernetes/v2"], ["run"],
            ["run", "kubernetes"], ["run", "kubernetes/v2"], ["check"], ["configure"],
            ["configure", "kubernetes"], ["configure", "kubernetes/v2"], ["migrate"], ["wait"], ["status"],
            ["shutdown"], ["kubeconfig"], ["install"], ["install", "systemd"], ["keypair"], ["keypair", "create"],
            ["version"],
            ["completion"], ["man"]]

# Options of other programs in the README: tctl, curl, kubectl, and ./dev.
FOREIGN = {"--roles", "--unix-socket", "--raw", "--once", "--bot", "--day", "--clients", "--kube-rig", "--changed", "--now"}


def kubelane(*words, environment=None, code=0):
    done = subprocess.run([KUBELANE, *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, env={**os.environ, **(environment or {})})
    if code is not None and done.returncode != code:
        raise AssertionError(f"{words}: code {done.returncode}: {done.stderr}")
    return done


def run(*words, **more):
    return subprocess.run(words, stdin=more.pop("stdin", subprocess.DEVNULL), capture_output=True,
                          text=True, timeout=120, **more)


def long_options(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text))


def options_of_help(command):
    """{option: its lines} of a command's --help."""
    found, current = {}, []
    for line in kubelane(*command, "--help").stdout.partition("Options:\n")[2].splitlines():
        if re.match(r"  -", line):
            current = [name for name in line.split()[0].split(",") if name.startswith("--")]
        elif not line.startswith("   "):
            current = []
        for name in current:
            found[name] = found.get(name, "") + " " + line.strip()
    return found


def man_text():
    return kubelane("man").stdout.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


class Texts(unittest.TestCase):
    def test_man_page_and_help_have_the_same_options(self):
        everything = set()
        sections = {}
        current = ""
        for line in man_text().splitlines():
            if line.startswith(".SS "):
                current = line[len(".SS kubelane "):]
            sections.setdefault(current, "")
            sections[current] += line + "\n"
        for command in COMMANDS:
            with self.subTest(command=command):
                options = set(options_of_help(command))
                self.assertIn("--help", options)
                section = sections[" ".join(command)]
                named = set()
                for line in section.splitlines():
                    if line.startswith("\\fB-"):
                        named |= set(re.findall(r"--[a-z][a-z-]+", line))
                self.assertEqual(options, named)
                everything |= options
        self.assertGreater(len(everything), 30)

    def test_every_command_of_help_is_tested_here(self):
        for command in COMMANDS:
            text = kubelane(*command, "--help").stdout
            part = text.partition("Subcommands:\n")[2].split("\n\n")[0]
            below = {line.split()[0].split(",")[0] for line in part.splitlines()
                     if re.match(r"  \S", line)}
            listed = {other[-1] for other in COMMANDS if other[:-1] == command and other}
            self.assertEqual(below - {"Examples:", "Exit"}, listed, command)

    def test_readme_names_only_options_that_there_are(self):
        known = set()
        for command in COMMANDS:
            known |= set(options_of_help(command))
        mentioned = long_options((TOP / "README.md").read_text()) - FOREIGN
        self.assertGreater(len(mentioned), 5)
        self.assertEqual(mentioned - known, set())

    def test_readme_names_only_commands_that_there_are(self):
        known = {command[0] for command in COMMANDS if command}
        text = (TOP / "README.md").read_text()
        fenced = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.M | re.S))
        mentioned = set(re.findall(r"`kubelane ([a-z]+)", text))
        mentioned |= set(re.findall(r"^kubelane ([a-z]+)", fenced, re.M))
        self.assertGreater(len(mentioned), 5)
        self.assertEqual(mentioned - known, set())

    def test_every_option_of_start_has_its_variable(self):
        for command in (["start"], ["start", "kubernetes"], ["start", "kubernetes/v2"]):
            for option, text in options_of_help(command).items():
                if option in ("--help", "--certificate-ttl"):  # an older name of --credential-ttl
                    continue
                variable = "KUBELANE_" + option[2:].upper().replace("-", "_")
                self.assertIn(variable, text, f"{command} {option}")

    def test_every_variable_of_start_is_read(self):
        """A value that cannot be is told under the variable's name, or comes into force."""
        free = {"--config", "--token", "--join-uri", "--help", "--certificate-ttl", "--storage",
                "--proxy-ca", "--registration-secret", "--registration-secret-path",
                "--static-key-path", "--local-trust", "--exit-when-file"}
        for option in options_of_help(["start"]):
            if option in free:
                continue
            variable = "KUBELANE_" + option[2:].upper().replace("-", "_")
            done = kubelane("check", "-c", "/dev/null", environment={variable: "n o: such/value"},
                            code=2)
            self.assertIn(variable, done.stderr)
        done = kubelane("check", environment={"KUBELANE_CONFIG": "/dev/null"})
        self.assertIn("/dev/null is valid", done.stdout)
        done = kubelane("check", environment={"KUBELANE_CONFIG": "/dev/null",
                                              "TBOT_CONFIG_PATH": "/none"})
        self.assertIn("/dev/null is valid", done.stdout)
        done = kubelane("start", "-c", "/dev/null", code=2,
                        environment={"KUBELANE_JOIN_URI": "nonsense"})
        self.assertIn("KUBELANE_JOIN_URI", done.stderr)

    def test_exit_codes_are_the_same_everywhere(self):
        def rows(text, pattern):
            return {code: meaning.strip() for code, meaning in re.findall(pattern, text, re.M)}

        man = rows(man_text().partition(".SH EXIT STATUS")[2],
                   r"^\.TP\n\\fB(\S+)\\fR\n(.*)$")
        readme = rows((TOP / "README.md").read_text().partition("| exit code |")[2]
                      .split("\n\n")[0],
                      r"^\| `([0-9+n]+)` \| (.*) \|$")
        text = kubelane("--help").stdout.partition("Exit codes:\n")[2]
        help_rows = rows(text, r"^  ([0-9+n]+) +(.*)$")
        self.assertGreater(len(man), 8)
        self.assertEqual(man, help_rows)
        self.assertEqual(man, readme)

    def test_man_page_has_no_fault(self):
        if not shutil.which("groff"):
            self.skipTest("groff is not installed")
        with tempfile.NamedTemporaryFile("w", suffix=".1") as page:
            page.write(kubelane("man").stdout)
            page.flush()
            done = run("groff", "-Kutf8", "-man", "-ww", "-Tutf8", page.name)
        self.assertEqual(done.stderr, "")
        self.assertIn("--proxy-server", re.sub(".\x08", "", done.stdout), "no such option there")

    def test_version(self):
        lines = kubelane("version").stdout.splitlines()
        self.assertEqual(lines[0], kubelane("--version").stdout.strip())
        self.assertRegex(lines[0], r"^kubelane \d+\.\d+\.\d+$")
        self.assertRegex(lines[1], r"^build: .*(gcc|clang) \d+\.")
        for library in ("OpenSSL 3", "Boost 1.", "nghttp2 ", "llhttp ", "yaml-cpp "):
            self.assertIn(library, lines[2])


class Completions(unittest.TestCase):
    def complete_in_bash(self, *words):
        script = kubelane("completion", "bash").stdout
        quoted = " ".join("'" + word + "'" for word in words)
        done = run("bash", "-c", script + f"\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}\n"
                   "_kubelane; printf '%s\\n' \"${COMPREPLY[@]}\"")
        self.assertEqual(done.stderr, "")
        return set(done.stdout.split())

    def test_bash(self):
        self.assertLessEqual({"start", "run", "wait", "status"},
                             self.complete_in_bash("kubelane", ""))
        self.assertEqual({"--log-format", "--log-level"},
                         self.complete_in_bash("kubelane", "start", "--log"))
        self.assertEqual({"debug", "info", "warn", "error"},
                         self.complete_in_bash("kubelane", "start", "--log-level", ""))
        self.assertEqual({"--kubernetes-cluster"},
                         self.complete_in_bash("kubelane", "start", "kubernetes", "--kube"))
        self.assertEqual({"--log-level"},
                         self.complete_in_bash("kubelane", "start", "kubernetes", "--log-l"))
        self.assertEqual({"systemd"}, self.complete_in_bash("kubelane", "install", "s"))
        self.assertEqual({"zsh"}, self.complete_in_bash("kubelane", "completion", "z"))

    def test_zsh(self):
        if not shutil.which("zsh"):
            self.skipTest("zsh is not installed")
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "_kubelane"
            script.write_text(kubelane("completion", "zsh").stdout)
            self.assertEqual(run("zsh", "-n", str(script)).stderr, "")
            # A terminal, and somebody who types a Tab: what the shell adds is the end of the word.
            lines = ("zmodload zsh/zpty\nzpty z 'TERM=dumb PS1= zsh -f -i'\n"
                     f"zpty -w z 'fpath=({folder} $fpath); autoload -U compinit; compinit -D -u;"
                     " echo RE\"\"ADY'\nzpty -r z out '*READY*'\n")
            typed = {"kubelane stat": "us", "kubelane start --log-f": "ormat",
                     "kubelane start --log-level d": "ebug", "kubelane install s": "ystemd",
                     "kubelane start kubernetes --kubernetes-c": "luster",
                     "kubelane start kubernetes --log-f": "ormat", "kubelane completion z": "sh"}
            for begin, end in typed.items():
                lines += (f"zpty -w -n z '{begin}'$'\\t'\nzpty -r z out '*{begin}*{end}*' && "
                          f"print ok\nzpty -w -n z $'\\x15'\n")
            done = run("zsh", "-f", "-c", lines)
            self.assertEqual(done.stdout.split(), ["ok"] * len(typed), done.stderr)

    def test_fish(self):
        if not shutil.which("fish"):
            self.skipTest("fish is not installed")
        script = kubelane("completion", "fish").stdout

        def complete(line):
            with tempfile.TemporaryDirectory() as home:
                done = run("fish", "--no-config", "-c", script + f"\ncomplete -C '{line}'",
                           env={**os.environ, "HOME": home})
            self.assertEqual(done.stderr, "")
            return {each.split("\t")[0] for each in done.stdout.splitlines()}

        self.assertLessEqual({"start", "run", "wait"}, complete("kubelane "))
        self.assertEqual({"--log-format", "--log-level"}, complete("kubelane start --log"))
        self.assertEqual({"debug", "info", "warn", "error"},
                         complete("kubelane start --log-level "))
        self.assertIn("--kubernetes-cluster", complete("kubelane start kubernetes --kube"))

    def test_another_shell_is_refused(self):
        self.assertIn("bash, zsh, fish", kubelane("completion", "tcsh", code=2).stderr)


class Unit(unittest.TestCase):
    CONFIG = """version: v2
proxy_server: teleport.example.com:443
onboarding: {join_method: token, token: /etc/kubelane/token}
storage: {type: directory, path: /var/lib/kubelane}
admin_addr: unix:///run/kubelane/admin.sock
services:
  - type: kubernetes/v2
    selectors: [{labels: {env: prod}}]
    destination: {type: directory, path: /run/kubelane, readers: [{user: root}]}
"""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)
        self.config = self.path / "kubelane.yaml"
        self.config.write_text(self.CONFIG)

    def unit(self, *words, config=None):
        if config:
            self.config.write_text(config)
        return kubelane("install", "systemd", "-c", str(self.config), *words)

    def test_it_gives_the_configuration_what_it_needs(self):
        text = self.unit().stdout
        for line in ("Type=notify", "DynamicUser=yes", 'StateDirectory="kubelane"',
                     'RuntimeDirectory="kubelane"',
                     'LoadCredential="token:/etc/kubelane/token"',
                     "Environment=KUBELANE_TOKEN=%d/token",
                     f'ExecStart="{os.path.realpath(KUBELANE)}" start --config "{self.config}"'):
            self.assertIn(line + "\n", text)
        self.assertIn("User=svc\nGroup=web\n", self.unit("--user", "svc", "--group", "web").stdout)

    def test_exposure_is_small(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not installed")
        unit = self.path / "kubelane.service"
        low = self.CONFIG.replace("admin_addr:", "listen: 127.0.0.1:443\nadmin_addr:")
        for config in (self.CONFIG, low, self.CONFIG.replace(", readers: [{user: root}]", "")):
            unit.write_text(self.unit(config=config).stdout)
            done = run("systemd-analyze", "security", "--offline=yes", "--threshold=15",
                       "--no-pager", str(unit))
            found = re.search(r"exposure level for .*: ([0-9.]+)", done.stdout)
            self.assertTrue(found, done.stdout + done.stderr)
            print(f"exposure {found.group(1)}", file=sys.stderr)
            self.assertLessEqual(float(found.group(1)), 1.5)
            self.assertEqual(done.returncode, 0)

    def test_systemd_understands_it(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not installed")
        strange = self.path / "a b%c$d\"e.yaml"
        strange.write_text(self.CONFIG)
        text = kubelane("install", "systemd", "-c", str(strange)).stdout
        self.assertIn('a b%%c$$d\\"e.yaml"', text)
        unit = self.path / "kubelane.service"
        for each in (text, self.unit("--user", "root").stdout):
            unit.write_text(each)
            done = run("systemd-analyze", "verify", "--man=no", str(unit))
            own = [line for line in done.stderr.splitlines() if "kubelane.service" in line]
            self.assertEqual(own, [])

    def test_writing_it(self):
        done = self.unit("--name", "lane", "--systemd-directory", str(self.path), "--write")
        unit = self.path / "lane.service"
        self.assertIn("systemctl enable --now lane", done.stdout)
        self.assertEqual(unit.read_text(), self.unit().stdout)
        self.assertEqual(unit.stat().st_mode & 0o777, 0o644)
        again = ["install", "systemd", "-c", str(self.config), "--name", "lane",
                 "--systemd-directory", str(self.path), "--write"]
        kubelane(*again)
        unit.write_text("[Unit]\n")
        self.assertIn("--force", kubelane(*again, code=1).stderr)
        self.assertEqual(unit.read_text(), "[Unit]\n")
        kubelane(*again, "--force")
        self.assertIn("Type=notify", unit.read_text())

    def test_what_cannot_be_is_refused(self):
        for words in (["--name", "a/b"], ["--name", "a b"], ["--user", "x\ny"], ["--group", "%i"]):
            done = kubelane("install", "systemd", "-c", str(self.config), *words, code=2)
            self.assertIn(words[0], done.stderr)
        self.assertIn("-c", kubelane("install", "systemd", code=2).stderr)
        self.config.write_text("version: v2\nproxy_sever: x\n")
        done = kubelane("install", "systemd", "-c", str(self.config), code=2)
        self.assertIn("proxy_server", done.stderr)

    def test_a_secret_in_the_file_is_noticed_and_not_repeated(self):
        done = self.unit(config=self.CONFIG.replace("/etc/kubelane/token", "hunter2"))
        self.assertIn("put it into a file", done.stderr)
        self.assertNotIn("hunter2", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
