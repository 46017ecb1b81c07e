#!/usr/bin/env bash
# deploy/host.md word for word on a Debian of its own (debootstrap), booted with its systemd in
# namespaces; the lab is Teleport, real kubectl asks.
# usage: host.sh FOLDER KUBELANE LAB     as root; keeps the Debian in FOLDER/root
# Closing line: "N passed, N failed".
set -euo pipefail
mkdir -p "${1:?usage: host.sh FOLDER KUBELANE LAB}"
folder=$(cd "$1" && pwd) kubelane=$2 lab=$3
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$folder/root
work=$(mktemp -d)
cgroup=/sys/fs/cgroup/systemd
[ -d "$cgroup" ] || cgroup=/sys/fs/cgroup
cgroup=$cgroup/kubelane-test-$$
# shellcheck source=tests/processes.sh
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
cleanup() {
  [ ! -s "$work/init" ] || kill -KILL "$(cat "$work/init")" 2>/dev/null || true
  end_processes
  find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# shellcheck source=tests/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

if [ ! -e "$folder/made" ]; then
  rm -rf "$root"
  debootstrap --variant=minbase --include=systemd,procps,libacl1 bookworm "$root" >"$folder/debootstrap.log"
  chroot "$root" groupadd deployers
  chroot "$root" useradd -G deployers deployer
  chroot "$root" useradd other
  touch "$folder/made"
fi
rm -rf "$root"/{etc/kubelane,var/lib/private/kubelane,var/lib/kubelane}

token=$(openssl rand -hex 16)
"$lab" --dir "$work/lab" --http2 --auth --bot kubelane --token "$token" --cluster prod=env=prod \
  >"$work/ready.json" 2>"$work/lab.log" &
pids+=($!)
wait_until 20 grep -q '"ready"' "$work/ready.json" || { cat "$work/lab.log" && exit 1; }
proxy=$(sed -nE 's/.*"proxy":"([^"]+)".*/\1/p' "$work/ready.json")
read -r port diag < <(
  python3 - <<'PY'
import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in taken))
PY
)

# The recipe. Only Teleport's address, its CA and the ports are the test's.
install -m 0755 "$kubelane" "$root/usr/local/bin/kubelane"
install -d "$root/etc/kubelane"
sed -e "s/teleport.example.com:443/$proxy/" -e "s/127.0.0.1:3001/127.0.0.1:$diag/" \
  "$source/deploy/host/kubelane.yaml" >"$root/etc/kubelane/kubelane.yaml"
printf 'proxy_ca: /etc/kubelane/web-ca.pem\nlisten: 127.0.0.1:%s\n' "$port" >>"$root/etc/kubelane/kubelane.yaml"
install -m 0644 "$work/lab/web-ca.pem" "$root/etc/kubelane/"
install -m 0600 /dev/stdin "$root/etc/kubelane/token" <<<"$token"
install -m 0644 "$source/deploy/host/kubelane.service" "$root/etc/systemd/system/"

mkdir "$cgroup"
(
  echo "$BASHPID" >"$cgroup/cgroup.procs"
  exec unshare --cgroup --mount --pid --ipc --uts --fork bash "$source/tests/host/boot.sh" "$root"
) >"$work/boot.log" 2>&1 &
unshared=$!
pids+=("$unshared")
wait_until 20 pgrep -P "$unshared" || { cat "$work/boot.log" && exit 1; }
pgrep -P "$unshared" >"$work/init"
inside() { nsenter -t "$(cat "$work/init")" -m -p -i -u -C -r -w "$@"; }
as() { inside setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"; }
check "systemd boots" wait_until 60 inside systemctl is-system-running

check "the configuration is valid" inside kubelane check -c /etc/kubelane/kubelane.yaml
inside systemctl daemon-reload
check "the service starts" inside systemctl enable --now kubelane
ready() { curl -fsS --noproxy '*' "http://127.0.0.1:$diag/readyz"; }
check "it is ready" wait_until 30 ready
pid=$(inside systemctl show kubelane -p MainPID --value)
status() { inside sed -nE "s/^$1:[[:space:]]+([^[:space:]]+).*/\1/p" "/proc/$pid/status"; }
check "it is nobody's user" test "$(status Uid)" -ge 61184
check "it has no capabilities and gets none" is "$(status CapBnd) $(status NoNewPrivs)" "0000000000000000 1"
check "it is under a seccomp filter" is "$(status Seccomp)" 2
exposure() { systemd-analyze security --offline=true "$source/deploy/host/kubelane.service" | sed -nE 's/.*level for .*: ([0-9.]+) .*/\1/p'; }
check "its exposure is at most 1.5" python3 -c 'import sys; assert float(sys.argv[1]) <= 1.5, sys.argv[1]' "$(exposure)"

kubeconfig=/run/kubelane/kube/kubeconfig.yaml
asked() {
  as deployer cat $kubeconfig >"$work/kubeconfig.yaml" &&
    kubectl --cache-dir "$work/cache" --kubeconfig "$work/kubeconfig.yaml" get namespaces
}
check "who is in the group of the readers has the cluster" asked
check "who is not has not" not as other cat $kubeconfig
check "nobody else can read the token" not as other cat /etc/kubelane/token
cp "$work/kubeconfig.yaml" "$work/before.yaml"
check "it reloads" inside systemctl reload kubelane
check "it restarts" inside systemctl restart kubelane
check "it is ready again, without another token" wait_until 30 ready
check "kubectl is served still" asked
check "by the same kubeconfig" cmp "$work/kubeconfig.yaml" "$work/before.yaml"
check "it stops" inside systemctl stop kubelane
check "with success" is "$(inside systemctl show kubelane -p Result -p ExecMainStatus | sort | tr '\n' ' ')" \
  "ExecMainStatus=0 Result=success "
[ "$failed" = 0 ] || inside journalctl -u kubelane --no-pager -o cat | tail -n 40 || true

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
