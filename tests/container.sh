#!/usr/bin/env bash
# The image as a kubelet would run it, with podman and crun: the lab is Teleport, real kubectl asks.
# usage: container.sh FOLDER_OF_THE_IMAGE BUILD_FOLDER   as root; reads FOLDER/kubelane.oci.tar
# Closing line: "N passed, N failed".
set -euo pipefail
folder=$(cd "${1:?usage: container.sh FOLDER_OF_THE_IMAGE BUILD_FOLDER}" && pwd)
build=$(cd "${2:?usage: container.sh FOLDER_OF_THE_IMAGE BUILD_FOLDER}" && pwd)
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
most_bytes=25000000

# crun wants cgroups of one version; on a machine with both it sees the first only.
if [ -z "${KUBELANE_OWN_MOUNTS:-}" ] && mountpoint -q /sys/fs/cgroup/unified; then
  # shellcheck disable=SC2016  # for the inner shell
  exec env KUBELANE_OWN_MOUNTS=1 unshare --mount --propagation slave -- \
    bash -c 'umount /sys/fs/cgroup/unified && exec bash "$0" "$@"' "${BASH_SOURCE[0]}" "$@"
fi

work=$(mktemp -d)
podman=(podman --root "$work/storage" --runroot "$work/runroot" --cgroup-manager cgroupfs)
lab=
cleanup() {
  "${podman[@]}" rm -f -t 0 sidecar >/dev/null 2>&1 || true
  [ -z "$lab" ] || { kill "$lab" 2>/dev/null || true; wait "$lab" 2>/dev/null || true; }
  ! mountpoint -q "$work/storage/overlay" || umount -l "$work/storage/overlay"
  ! mountpoint -q "$work/volume" || umount "$work/volume"
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# shellcheck source=tests/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

# ---------------------------------------------------------------- what is in it

mkdir "$work/oci" "$work/root"
tar -xf "$folder/kubelane.oci.tar" -C "$work/oci"
read -r size layers < <(
  python3 - "$work/oci" <<'PY'
import json, pathlib, sys
top = pathlib.Path(sys.argv[1])
def blob(digest): return top / "blobs" / digest.replace(":", "/")
manifest = json.loads(blob(json.loads((top / "index.json").read_text())["manifests"][0]["digest"]).read_text())
print(sum(layer["size"] for layer in manifest["layers"]), *(blob(layer["digest"]) for layer in manifest["layers"]))
PY
)
for layer in $layers; do tar -xzf "$layer" -C "$work/root"; done
echo "      compressed: $size bytes; unpacked: $(du -sb "$work/root" | cut -f1) bytes"
check "at most $most_bytes bytes compressed" test "$size" -le "$most_bytes"
programs=$(cd "$work/root" && find . -type f -perm /111 ! -name '*.so*' | sort)
check "one program, no shell" is "$programs" ./usr/bin/kubelane
check "nothing set-uid, set-gid or for everybody to write" \
  is "$(find "$work/root" \( -perm /6000 -o ! -type l -perm -0002 \))" ""
check "no debug information" \
  is "$(readelf -S "$work/root/usr/bin/kubelane" | grep -c '\.debug_' || true)" 0

# ---------------------------------------------------------------- the sidecar of deploy/kubernetes

"$build/kubelane-lab" --dir "$work/lab" --http2 --auth --bot kubelane --kubernetes-token kubelane \
  --cluster prod=env=prod >"$work/ready.json" 2>"$work/lab.log" &
lab=$!
wait_until 20 grep -q '"ready"' "$work/ready.json" || { cat "$work/lab.log" && exit 1; }
proxy=$(sed -nE 's/.*"proxy":"([^"]+)".*/\1/p' "$work/ready.json")
read -r port diag < <(
  python3 - <<'PY'
import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in taken))
PY
)
# As the kubelet mounts them: an emptyDir in memory, a projected token.
mkdir "$work/volume" "$work/join" "$work/config"
mount -t tmpfs -o size=1m,mode=0777 kubelane "$work/volume"
install -m 0644 "$work/lab/service-account-token" "$work/join/token"
install -m 0644 "$source/deploy/kubernetes/sidecar/kubelane.yaml" "$work/lab/web-ca.pem" "$work/config"
chmod 0755 "$work"

in_container=(--network host --cgroups=disabled --ulimit nofile=1024:4096 --ulimit nproc=1024:1024)
"${podman[@]}" load -q -i "$folder/kubelane.oci.tar" >/dev/null
image=$("${podman[@]}" images -q | head -n 1)
# The user is the image's own. Only what differs from a cluster is set: Teleport's address, its CA,
# and free ports.
"${podman[@]}" run -d --name sidecar "${in_container[@]}" --read-only --read-only-tmpfs=false \
  --cap-drop all --security-opt no-new-privileges \
  -v "$work/config:/etc/kubelane:ro" -v "$work/join:/var/run/secrets/teleport:ro" \
  -v "$work/volume:/run/kubelane" \
  -e "TELEPORT_PROXY=$proxy" -e KUBELANE_PROXY_CA=/etc/kubelane/web-ca.pem \
  -e "KUBELANE_LISTEN=127.0.0.1:$port" -e "KUBELANE_DIAG_ADDR=127.0.0.1:$diag" "$image" >/dev/null

get() { curl -fsS --noproxy '*' "http://127.0.0.1:$diag$1"; }
check "the startup probe succeeds" wait_until 30 get /startup
check "the readiness probe succeeds" get /readyz
pid=$("${podman[@]}" inspect -f '{{.State.Pid}}' sidecar)
status() { sed -nE "s/^$1:[[:space:]]+([^[:space:]]+).*/\1/p" "/proc/$pid/status"; }
check "it runs as user 65532" is "$(status Uid)" 65532
check "without capabilities" is "$(status CapEff)$(status CapBnd)" 00000000000000000000000000000000
check "without a way to more privileges" is "$(status NoNewPrivs)" 1
check "under a seccomp filter" is "$(status Seccomp)" 2
check "on a root that cannot be written" \
  grep -qE '^[0-9]+ [0-9]+ [^ ]+ / / ro[, ]' "/proc/$pid/mountinfo"
check "no error is logged" is "$("${podman[@]}" logs sidecar 2>&1 | grep '"level":"error"' || true)" ""

kubeconfig=$work/volume/kube/kubeconfig.yaml
asked() { kubectl --cache-dir "$work/cache" --kubeconfig "$kubeconfig" get namespaces; }
check "kubectl is served through it" asked
# A neighbour of the pod: another user, with the pod's supplementary group or without.
check "a container of the pod may read the kubeconfig" \
  setpriv --reuid 1000 --regid 1000 --groups 65532 cat "$kubeconfig"
check "who is not of the pod's group may not" \
  not setpriv --reuid 1000 --regid 1000 --clear-groups cat "$kubeconfig"

check "its program answers in the container" \
  "${podman[@]}" exec sidecar /usr/bin/kubelane check -c /etc/kubelane/kubelane.yaml
for shell in sh bash /bin/sh /busybox/sh; do
  check "$shell is not there" not "${podman[@]}" exec sidecar "$shell" -c true
done

"${podman[@]}" stop -t 20 sidecar >/dev/null
check "SIGTERM ends it with 0" is "$("${podman[@]}" inspect -f '{{.State.ExitCode}}' sidecar)" 0
[ "$failed" = 0 ] || "${podman[@]}" logs --tail 40 sidecar || true

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
