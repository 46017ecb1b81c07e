#!/usr/bin/env bash
# Renders deploy/kubernetes with `kubectl kustomize` and lets a real kube-apiserver judge it: every
# object, and a pod of each template, by server-side dry-run in namespaces that enforce `restricted`.
# usage: KUBE_RIG=FOLDER tests/deploy_check.sh
# The rig's API server is an old one (1.20), before Pod Security, native sidecars and the current
# versions of two objects: for it these are written in the old way. With KUBE_APISERVER=FILE, a
# kube-apiserver of 1.29 or newer, nothing is changed and everything is enforced.
# Closing line: "N passed, N failed".
set -euo pipefail
rig=${KUBE_RIG:?set KUBE_RIG to the folder of the kube-rig}
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
export RIG_DIR=$work/rig RIG_KCM=0
pids=()
cleanup() {
  local i
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill -TERM "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
  [ -n "${KUBE_APISERVER:-}" ] || bash "$rig/k8s-down.sh" >&2 || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

read -r RIG_PORT RIG_ETCD_PORT RIG_ETCD_PEER RIG_KUBELET_PORT RIG_KCM_PORT < <(
  python3 - <<'PY'
import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
print(*(s.getsockname()[1] for s in taken))
PY
)
export RIG_PORT RIG_ETCD_PORT RIG_ETCD_PEER RIG_KUBELET_PORT RIG_KCM_PORT
kc() { kubectl --cache-dir "$work/cache" --kubeconfig "$work/admin.kubeconfig" "$@"; }

# The rig's etcd and the given kube-apiserver.
start_apiserver() {
  # shellcheck source=/dev/null
  BIN=$(. "$rig/env.sh" && echo "$BIN")
  local etcd=$BIN/etcd
  [ -x "$etcd" ] || etcd=etcd
  "$etcd" --data-dir "$work/etcd" --listen-client-urls "http://127.0.0.1:$RIG_ETCD_PORT" \
    --advertise-client-urls "http://127.0.0.1:$RIG_ETCD_PORT" \
    --listen-peer-urls "http://127.0.0.1:$RIG_ETCD_PEER" \
    --initial-advertise-peer-urls "http://127.0.0.1:$RIG_ETCD_PEER" \
    --initial-cluster "default=http://127.0.0.1:$RIG_ETCD_PEER" >"$work/etcd.log" 2>&1 &
  pids+=($!)
  mkdir "$work/pki"
  openssl genrsa -out "$work/pki/sa.key" 2048 2>/dev/null
  local token
  token=$(openssl rand -hex 16)
  (umask 077 && echo "$token,admin,admin,\"system:masters\"" >"$work/pki/tokens.csv")
  "$KUBE_APISERVER" --bind-address 127.0.0.1 --secure-port "$RIG_PORT" --advertise-address 127.0.0.1 \
    --endpoint-reconciler-type none --etcd-servers "http://127.0.0.1:$RIG_ETCD_PORT" \
    --service-cluster-ip-range 10.0.0.0/24 --cert-dir "$work/pki" --authorization-mode RBAC \
    --token-auth-file "$work/pki/tokens.csv" --service-account-issuer https://kubernetes.default.svc \
    --service-account-signing-key-file "$work/pki/sa.key" --service-account-key-file "$work/pki/sa.key" \
    --disable-admission-plugins ServiceAccount >"$work/apiserver.log" 2>&1 &
  pids+=($!)
  local deadline=$((SECONDS + 120))
  until [ -s "$work/pki/apiserver.crt" ] && KUBECONFIG=/dev/null kubectl --server "https://127.0.0.1:$RIG_PORT" \
    --certificate-authority "$work/pki/apiserver.crt" --token "$token" get --raw /readyz >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || { tail -n 20 "$work/apiserver.log" >&2 && exit 1; }
    sleep 0.2
  done
  kc config set-cluster it --server "https://127.0.0.1:$RIG_PORT" \
    --certificate-authority "$work/pki/apiserver.crt" >/dev/null
  kc config set-credentials it --token "$token" >/dev/null
  kc config set-context it --cluster it --user it >/dev/null
  kc config use-context it >/dev/null
}

if [ -n "${KUBE_APISERVER:-}" ]; then
  start_apiserver
else
  bash "$rig/setup.sh" >&2
  bash "$rig/k8s-up.sh" --fresh >&2
  cp "$RIG_DIR/admin.kubeconfig" "$work/admin.kubeconfig"
fi
minor=$(kc version -o json | python3 -c 'import json, sys; print(int(json.load(sys.stdin)["serverVersion"]["minor"].rstrip("+")))')
echo "--- kube-apiserver 1.$minor"

passed=0 failed=0
# check WHAT COMMAND...
check() {
  local what=$1
  shift
  if "$@" >"$work/check.log" 2>&1; then
    echo "ok    $what"
    passed=$((passed + 1))
  else
    echo "FAIL  $what"
    sed 's/^/      /' "$work/check.log"
    failed=$((failed + 1))
  fi
}

# objects.py MODE MINOR <LIST.json: the list for the server, then, as items of their own, a pod of each template.
# MODE `unconfined` leaves the security of each container out of these pods, and the rest away.
cat >"$work/objects.py" <<'PY'
import copy, json, sys
mode, minor = sys.argv[1], int(sys.argv[2])
given = json.load(sys.stdin)
objects = given["items"] if given["kind"] == "List" else [given]
OLD = {"autoscaling/v2": "autoscaling/v2beta2", "policy/v1": "policy/v1beta1"}
pods = [o for o in objects if o["kind"] == "Pod"]
for o in objects:
    template = o.get("spec", {}).get("template")
    if template:
        metadata = dict(template.get("metadata", {}), name=o["metadata"]["name"] + "-template")
        if "namespace" in o["metadata"]: metadata["namespace"] = o["metadata"]["namespace"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}
        objects.append(pod)
        pods.append(pod)
if mode == "unconfined":
    objects = pods
    for pod in pods:
        for c in pod["spec"]["containers"]: c.pop("securityContext", None)
if minor < 29:
    for o in objects:
        o["apiVersion"] = OLD.get(o["apiVersion"], o["apiVersion"])
        for spec in [o.get("spec", {}), o.get("spec", {}).get("template", {}).get("spec", {})]:
            for c in [c for c in spec.get("initContainers", []) if c.get("restartPolicy")]:
                spec["initContainers"].remove(c)
                del c["restartPolicy"]
                spec["containers"].append(c)
json.dump({"apiVersion": "v1", "kind": "List", "items": objects}, sys.stdout)
PY

kc create namespace restricted >/dev/null
kc label namespace restricted pod-security.kubernetes.io/enforce=restricted \
  pod-security.kubernetes.io/warn=restricted >/dev/null
# A namespace of a dry-run is none for what is in it.
kc apply --server-side -f "$source/deploy/kubernetes/standalone/namespace.yaml" >/dev/null

# render FOLDER MODE: to be applied
render() {
  kubectl kustomize "$source/deploy/$1" | kubectl label --local -f - -o json checked=yes |
    python3 -c 'import json, sys
text, decoder, items = sys.stdin.read().strip(), json.JSONDecoder(), []
while text:
    item, end = decoder.raw_decode(text)
    items += item["items"] if item["kind"] == "List" else [item]
    text = text[end:].strip()
json.dump({"kind": "List", "items": items}, sys.stdout)' | python3 "$work/objects.py" "$2" "$minor"
}
# The one that its kustomization names, else ours.
namespace_of() { if [ "$1" = kubernetes/standalone ]; then echo kubelane; else echo restricted; fi; }
# accepted FOLDER: by the server, without a warning
accepted() {
  render "$1" whole >"$work/objects.json" || return 1
  kc -n "$(namespace_of "$1")" apply --server-side --dry-run=server -f "$work/objects.json" -o json \
    >"$work/accepted.json" 2>"$work/warnings" || { cat "$work/warnings" && return 1; }
  ! grep . "$work/warnings"
}
refused() {
  render "$1" unconfined >"$work/objects.json" || return 1
  ! kc -n "$(namespace_of "$1")" apply --server-side --dry-run=server -f "$work/objects.json" >"$work/refusal" 2>&1 &&
    grep 'violates PodSecurity "restricted' "$work/refusal"
}
sidecars_first() {
  python3 -c 'import json, sys
pods = [o["spec"] for o in json.load(open(sys.argv[1]))["items"] if o["kind"] == "Pod"]
assert pods
for spec in pods:
    first = spec["initContainers"][0]
    assert first["name"] == "kubelane" and first["restartPolicy"] == "Always", first
    assert first["startupProbe"]["httpGet"]["path"] == "/startup", first
' "$work/accepted.json"
}

for folder in teleport kubernetes/{pod,component-example,job,standalone,secrets}; do
  check "$folder is accepted" accepted "$folder"
  case $folder in
    kubernetes/pod | kubernetes/component-example)
      [ "$minor" -lt 29 ] || check "$folder: kubelane starts before all others" sidecars_first
      ;;
  esac
done
if [ "$minor" -ge 25 ]; then
  for folder in kubernetes/{pod,component-example,job,standalone}; do
    check "$folder is refused without its securityContext" refused "$folder"
  done
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
