#!/usr/bin/env bash
# The kube-rig's kubectl suite through kubelane: a real kube-apiserver and kubelet behind the lab's
# Teleport Proxy, once for each way that local clients authenticate.
# usage: KUBE_RIG=FOLDER tests/kube_rig.sh BUILD_FOLDER
# Starts everything it needs on free ports and ends it. Closing line: "N passed, N failed".
set -euo pipefail
rig=${KUBE_RIG:?set KUBE_RIG to the folder of the kube-rig}
build=$(cd "${1:?usage: kube_rig.sh BUILD_FOLDER}" && pwd)
export RIG_DIR=$build/kube-rig

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

free_ports() {
  python3 - "$1" <<'PY'
import socket, sys
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in taken))
PY
}

# wait_until SECONDS WHAT COMMAND...
wait_until() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "kube_rig.sh: gave up waiting for $what" >&2
      tail -n 20 "$work"/*.log >&2 || true
      return 1
    fi
    sleep 0.1
  done
}

bash "$rig/setup.sh" >&2
read -r RIG_PORT RIG_ETCD_PORT RIG_ETCD_PEER RIG_KUBELET_PORT RIG_KCM_PORT < <(free_ports 5)
export RIG_PORT RIG_ETCD_PORT RIG_ETCD_PEER RIG_KUBELET_PORT RIG_KCM_PORT
bash "$rig/k8s-up.sh" --fresh >&2

passed=0 failed=0
# run_mode LOCAL_AUTH LOCAL_TLS KIND PROTOCOL: `auto` must come to HTTP/2, `http1` is pinned; the
# Proxy offers both
run_mode() {
  local mode=$1-${3//\//-}-$4
  local folder=$work/$mode selector
  mkdir -p "$folder/lab"
  "$build/kubelane-lab" --dir "$folder/lab" --http2 --kind "$3" --cluster rig \
    --upstream "https://127.0.0.1:$RIG_PORT" --upstream-ca "$RIG_DIR/pki/ca.crt" \
    --upstream-cert "$RIG_DIR/pki/impersonator.crt" --upstream-key "$RIG_DIR/pki/impersonator.key" \
    --impersonate-as rig-admin >"$folder/ready.json" 2>"$work/$mode-lab.log" &
  pids+=($!)
  wait_until 20 "the lab" grep -q '"ready"' "$folder/ready.json"
  selector="kubernetes_cluster: rig"
  [ "$3" = kubernetes ] || selector="selectors: [{name: rig}]"
  cat >"$folder/kubelane.yaml" <<YAML
version: v2
proxy_server: $(python3 -c 'import json, sys; print(json.load(sys.stdin)["proxy"])' <"$folder/ready.json")
proxy_ca: $folder/lab/web-ca.pem
listen: 127.0.0.1:0
local_auth: $1
local_tls: $2
proxy_protocol: $4
log: {level: debug}
services:
  - type: $3
    $selector
    credentials: {type: directory, path: $folder/lab/credentials}
    destination: {type: directory, path: $folder/out}
YAML
  "$build/kubelane" start -c "$folder/kubelane.yaml" >"$work/$mode-kubelane.log" 2>&1 &
  pids+=($!)
  wait_until 20 "kubelane" grep -q 'kubelane is ready' "$work/$mode-kubelane.log"
  [ "$4" = http1 ] || wait_until 20 "HTTP/2" grep -q 'protocol=HTTP/2' "$work/$mode-kubelane.log"
  echo "--- local_auth: $1, local_tls: $2, credentials of $3, proxy_protocol: $4"
  local report=$work/$mode-verify.log p f
  bash "$rig/verify.sh" "$folder/out/kubeconfig.yaml" 2>&1 | tee "$report" || true
  read -r p f < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$report" | tail -1) ||
    { p=0 f=1; }
  passed=$((passed + p)) failed=$((failed + f))
  [ "$f" = 0 ] || grep -v ' DEBUG ' "$work/$mode-kubelane.log" | tail -n 40 >&2
  # What kubectl spoke by itself: the access log tells.
  local streams requests
  streams=$(grep -c ' request .*protocol=HTTP/2' "$work/$mode-kubelane.log" || true)
  requests=$(grep -c ' request .*protocol=HTTP/1.1' "$work/$mode-kubelane.log" || true)
  echo "$streams requests over HTTP/2, $requests over HTTP/1.1"
  if [ "$2" = true ] && [ "$4" = auto ]; then
    if [ "$streams" -gt "$requests" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  else
    if [ "$streams" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  fi
  end_processes
}

run_mode token true kubernetes auto
run_mode token true kubernetes/v2 http1
run_mode mtls true kubernetes/v2 auto
run_mode none false kubernetes auto
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
