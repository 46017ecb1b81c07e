#!/usr/bin/env bash
# Secrets and a Lease in a real kube-apiserver: kubelane as a pod's service account would run it,
# joined to the lab's Auth by a token that is good for one join.
# usage: KUBE_RIG=FOLDER tests/kube_secret_rig.sh BUILD_FOLDER
# Starts everything it needs on free ports and ends it. Closing line: "N passed, N failed".
set -euo pipefail
rig=${KUBE_RIG:?set KUBE_RIG to the folder of the kube-rig}
build=$(cd "${1:?usage: kube_secret_rig.sh BUILD_FOLDER}" && pwd)
export RIG_DIR=$build/kube-secret-rig

work=$(mktemp -d)
# shellcheck source=tests/processes.sh
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
cleanup() {
  end_processes
  bash "$rig/k8s-down.sh" >&2 || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

passed=0 failed=0
# check WHAT COMMAND...: waits until it succeeds
check() {
  local deadline=$((SECONDS + 30)) what=$1
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "FAILED  $what"
      tail -n 5 "$work"/*.log >&2 || true
      failed=$((failed + 1))
      return
    fi
    sleep 0.2
  done
  echo "ok      $what"
  passed=$((passed + 1))
}

bash "$rig/setup.sh" >&2
read -r RIG_PORT RIG_ETCD_PORT RIG_ETCD_PEER RIG_KUBELET_PORT RIG_KCM_PORT < <(python3 - <<'PY'
import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
print(*(s.getsockname()[1] for s in taken))
PY
)
export RIG_PORT RIG_ETCD_PORT RIG_ETCD_PEER RIG_KUBELET_PORT RIG_KCM_PORT
bash "$rig/k8s-up.sh" --fresh >&2
export KUBECONFIG=$RIG_DIR/admin.kubeconfig

kubectl create namespace apps >/dev/null
kubectl -n apps create serviceaccount kubelane >/dev/null
account=$work/service-account
mkdir -p "$account"
cp "$RIG_DIR/pki/ca.crt" "$account/ca.crt"
printf apps >"$account/namespace"
kubectl create --raw /api/v1/namespaces/apps/serviceaccounts/kubelane/token -f - >"$work/token.json" <<'JSON'
{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
JSON
python3 -c 'import json, sys; print(json.load(sys.stdin)["status"]["token"], end="")' \
  <"$work/token.json" >"$account/token"

"$build/kubelane-lab" --dir "$work/lab" --cluster rig --server-version 18.5.0 --auth \
  --token good-for-one-join \
  --upstream "https://127.0.0.1:$RIG_PORT" --upstream-ca "$RIG_DIR/pki/ca.crt" \
  --upstream-cert "$RIG_DIR/pki/impersonator.crt" --upstream-key "$RIG_DIR/pki/impersonator.key" \
  --impersonate-as rig-admin >"$work/ready.json" 2>"$work/lab.log" &
pids+=($!)
check "the lab starts" grep -q '"ready"' "$work/ready.json"
cat >"$work/kubelane.yaml" <<YAML
version: v2
proxy_server: $(python3 -c 'import json, sys; print(json.load(sys.stdin)["proxy"])' <"$work/ready.json")
proxy_ca: $work/lab/web-ca.pem
listen: 127.0.0.1:0
onboarding: {join_method: token, token: good-for-one-join}
storage: {type: kubernetes_secret, name: bot, labels: {app: kubelane}}
services:
  - type: kubernetes/v2
    selectors: [{name: rig}]
    destination: {type: kubernetes_secret, name: clusters}
YAML

# start NAME: a pod of that name; sets pid
start() {
  env KUBERNETES_SERVICE_HOST=127.0.0.1 KUBERNETES_SERVICE_PORT="$RIG_PORT" POD_NAME="$1" \
    KUBELANE_SERVICE_ACCOUNT_DIR="$account" \
    "$build/kubelane" start -c "$work/kubelane.yaml" >"$work/$1.log" 2>&1 &
  pid=$!
  pids+=("$pid")
}
field() { kubectl -n apps get "$1" "$2" -o "jsonpath={$3}"; }
is() { [ "$(field "$1" "$2" "$3")" = "$4" ]; }
differs() { [ "$(field "$1" "$2" "$3")" != "$4" ]; }
# Renewed and stored: another certificate, and no note that a renewal is under way.
renewed_since() { differs secret bot .data.tlscert "$1" && is secret bot .data.kubelane-renewing ''; }

start first
first=$pid
check "without a Role the missing rule is named" \
  grep -q 'a Role with the rules {apiGroups:.*leases.*verbs: \[get, update\]' "$work/first.log"
kubectl -n apps apply -f - >/dev/null <<'YAML'
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: kubelane}
rules:
  - {apiGroups: [""], resources: [secrets], resourceNames: [bot, clusters], verbs: [get, patch]}
  - {apiGroups: [""], resources: [secrets], verbs: [create]}
  - {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [bot], verbs: [get, update]}
  - {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
YAML
kubectl -n apps create rolebinding kubelane --role kubelane --serviceaccount apps:kubelane >/dev/null
check "with it, kubelane gets ready" grep -q 'kubelane is ready' "$work/first.log"
check "the bot's key is in the Secret" differs secret bot .data.key ''
check "with its label" is secret bot .metadata.labels.app kubelane
check "the Lease is the pod's" is lease bot .spec.holderIdentity first
field secret clusters '.data.kubeconfig\.yaml' | base64 -d >"$work/from-the-secret.yaml"
check "the kubeconfig in the Secret works" \
  kubectl --kubeconfig "$work/from-the-secret.yaml" get namespaces

before=$(field secret bot .data.tlscert)
kill -HUP "$first"
check "a renewal is stored" renewed_since "$before"
kubectl -n apps label secret bot touched=once >/dev/null
kubectl -n apps patch secret bot --type merge -p '{"data":{"note":"bWluZQ=="}}' >/dev/null
before=$(field secret bot .data.tlscert)
kill -HUP "$first"
check "a change by others between is a conflict that is overcome" renewed_since "$before"
check "what others put there stays" is secret bot .data.note bWluZQ==

start second
second=$pid
check "a second replica is told who has the storage" \
  grep -q 'in use by pod \\\?"first' "$work/second.log"
kill -TERM "$first"
check "it takes over when the first has gone" grep -q 'kubelane is ready' "$work/second.log"
check "the same identity, and no lock" grep -q "stored identity is used" "$work/second.log"
check "the Lease is now its own" is lease bot .spec.holderIdentity second
before=$(field secret bot .data.tlscert)
kubectl -n apps delete secret bot >/dev/null
kill -HUP "$second"
check "a deleted Secret is made again" renewed_since "$before"
before=$(field secret bot .data.tlscert)
kill -HUP "$second"
check "and renewed" renewed_since "$before"
check "Teleport has seen no mismatch" test -z "$(grep -h mismatch "$work"/*.log || true)"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
