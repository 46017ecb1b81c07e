#!/usr/bin/env bash
# What ./dev demo shows: the lab, kubelane, and real kubectl between them.
# usage: demo.sh KUBELANE LAB [--once]    --once: end by itself; exit 0 only if every step worked
set -euo pipefail

# shellcheck source=tests/lab/demo_stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/demo_stage.sh"

bold "1. Start the lab: a stand-in for a Teleport Proxy with a small Kubernetes cluster behind it"
tell "It also plays tbot: it writes a bot's short-lived certificate to a directory and renews it." \
  "(--renew-seconds 20: about once in 20 minutes in real life, every 20 seconds here.)"
"$lab" --dir "$work/lab" --cluster prod --renew-seconds 20 >"$work/ready.json" 2>"$work/lab.log" &
pids+=($!)
wait_for 20 $! "the lab" grep -q '"ready"' "$work/ready.json"
proxy=$(sed -nE 's/.*"proxy":"([^"]+)".*/\1/p' "$work/ready.json")
tell "The Proxy is at $proxy and wants that certificate from whoever connects."

bold "2. Start kubelane with this configuration"
mkdir -m 0700 "$work/out"
cat >"$work/kubelane.yaml" <<YAML
version: v2
proxy_server: $proxy
proxy_ca: $work/lab/web-ca.pem
listen: 127.0.0.1:0
storage: {type: directory, path: $work/state}
services:
  - type: kubernetes
    kubernetes_cluster: prod
    credentials: {type: directory, path: $work/lab/credentials}
    destination: {type: directory, path: $work/out}
YAML
sed 's/^/    /' "$work/kubelane.yaml"
"$kubelane" start -c "$work/kubelane.yaml" >"$work/kubelane.log" 2>&1 &
running=$!
pids+=("$running")
wait_for 20 "$running" "kubelane" grep -q 'kubelane is ready' "$work/kubelane.log"
export KUBECONFIG=$work/out/kubeconfig.yaml
tell "" "It connects to the Proxy with the bot's certificate, listens on localhost with TLS, and wrote" \
  "a kubeconfig that any client can use: an address, a CA, a token, nothing else:"
sed -E -e 's/^/    /' -e 's/(data|token): .*/\1: …/' "$KUBECONFIG"

kc=(kubectl --cache-dir "$work/kubectl-cache")
version=$(kubectl version --client -o json 2>/dev/null | sed -nE 's/.*"gitVersion": "([^"]+)".*/\1/p')
bold "3. Use real kubectl ($version) through it"
step "List what is there" default get namespaces
"${kc[@]}" get configmaps --watch --output-watch-events --no-headers >"$work/watch.log" 2>&1 &
pids+=($!)
watch=$!
cat >"$work/greeting.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: greeting, namespace: default}
data: {text: hello through the lane}
YAML
# A watch that started shows itself only by events: so change something until it has seen one.
for ((i = 0; i < 100; i++)); do
  "${kc[@]}" create configmap "probe-$i" >/dev/null 2>&1 || true
  grep -q probe- "$work/watch.log" && break
  sleep 0.1
done
step "Apply a manifest, while a watch is open in the background" configmap/greeting \
  apply --validate=false -f "$work/greeting.yaml"
step "Read it back" "hello through the lane" \
  get configmap greeting -o 'jsonpath={.data.text}'
bold "What the watch saw of it"
for ((i = 0; i < 100; i++)); do
  grep -q greeting "$work/watch.log" && break
  sleep 0.1
done
if ! grep greeting "$work/watch.log" | sed 's/^/    /'; then
  echo "    FAILED: the event did not arrive"
  failed=$((failed + 1))
fi
kill "$watch" 2>/dev/null || true
pod=$("${kc[@]}" get pods -o 'jsonpath={.items[0].metadata.name}' 2>/dev/null || true)
step "See the pods" "${pod:-a pod}" get pods
step "Read a log" "" logs "$pod" --tail=3
step "Run a command in a container (SPDY or WebSocket upgrade, a tunnel through the Proxy)" \
  "hello from the container" exec "$pod" -- echo "hello from the container"

close
tell "kubelane is running. In another terminal:" "" "  export KUBECONFIG=$KUBECONFIG" \
  "  kubectl get pods" "" "Ctrl-C ends it all."
wait "$running" || give_up "kubelane ended"
