#!/usr/bin/env bash
# What ./dev demo --bot shows: kubelane as a bot of its own, from the join to a cluster that appears.
# usage: demo_bot.sh KUBELANE LAB [--once]    --once: end by itself; exit 0 only if every step worked
set -euo pipefail
# shellcheck source=tests/lab/demo_stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/demo_stage.sh"

# logged TEXT COUNT: whether kubelane has said so that often
logged() { [ "$(grep -cF -- "$1" "$work/kubelane.log")" -ge "$2" ]; }
# say_again TEXT: the newest line with it, without what changes from run to run
say_again() {
  grep -F -- "$1" "$work/kubelane.log" | tail -n 1 |
    sed -E 's/^/    /; s/"time":"[^"]*",//; s/"(instance|serial)":"[^"]*",?//g'
}

bold "1. Start the lab: a stand-in for Teleport, Auth and Proxy, with a small Kubernetes cluster"
tell "An administrator has made the bot \"ci\", its role, and a join token that trusts the service" \
  "account of kubelane's pod; the pod's token is a file, as the kubelet projects it." \
  "Certificates live for 40 seconds here."
mkfifo "$work/commands"
"$lab" --dir "$work/lab" --server-version 18.5.0 --auth --bot ci --kubernetes-token kubelane \
  --longest-ttl 40 --renew-seconds 20 --cluster prod=env=prod --commands \
  <"$work/commands" >"$work/ready.json" 2>"$work/lab.log" &
pids+=($!)
exec 3>"$work/commands"
wait_for 20 $! "the lab" grep -q '"ready"' "$work/ready.json"
proxy=$(sed -nE 's/.*"proxy":"([^"]+)".*/\1/p' "$work/ready.json")
tell "The Proxy is at $proxy."

bold "2. Start kubelane with this configuration: no tbot, no files of keys"
mkdir -m 0700 "$work/out"
cat >"$work/kubelane.yaml" <<YAML
version: v2
proxy_server: $proxy
proxy_ca: $work/lab/web-ca.pem
listen: 127.0.0.1:0
onboarding:
  join_method: kubernetes
  token: kubelane
  kubernetes: {token_path: $work/lab/service-account-token}
storage: {type: memory}
credential_ttl: 40s
renewal_interval: 5s
log: {format: json}
services:
  - type: kubernetes/v2
    selectors: [{labels: {env: prod}}]
    destination: {type: directory, path: $work/out}
YAML
sed 's/^/    /' "$work/kubelane.yaml"
"$kubelane" start -c "$work/kubelane.yaml" >"$work/kubelane.log" 2>&1 &
running=$!
pids+=("$running")
wait_for 20 "$running" "kubelane" grep -q 'kubelane is ready' "$work/kubelane.log"
export KUBECONFIG=$work/out/kubeconfig.yaml
tell "" "It made a key, joined with the pod's token, and asked for a certificate that reaches clusters:"
say_again '"the bot has joined"'
say_again '"new credentials"'

kc=(kubectl --cache-dir "$work/kubectl-cache")
bold "3. Use real kubectl through it"
step "The first kubectl" default get namespaces

bold "4. A renewal, every 5 seconds here, every 20 minutes in real life"
wait_for 30 "$running" "a renewal" logged "\"the bot's identity is renewed\"" 1
wait_for 30 "$running" "its certificates" logged '"new credentials"' 2
say_again "\"the bot's identity is renewed\""
say_again '"new credentials"'
step "The same kubeconfig goes on" default get namespaces

bold "5. A cluster appears in Teleport"
tell "(the lab gets: add late env=prod)"
echo "add late env=prod" >&3
wait_for 30 "$running" "the new cluster" grep -q /late "$KUBECONFIG"
tell "kubelane serves it, and its kubeconfig has it:"
"${kc[@]}" config get-contexts -o name | sed 's/^/    /'
late=$("${kc[@]}" config get-contexts -o name | grep late)
step "Use it" default --context "$late" get namespaces

bold "6. It goes"
echo "remove late" >&3
wait_for 30 "$running" "its end" logged '"a cluster is gone"' 1
say_again '"a cluster is gone"'

close
tell "kubelane is running. In another terminal:" "" "  export KUBECONFIG=$KUBECONFIG" \
  "  kubectl get pods" "" "Ctrl-C ends it all."
wait "$running" || give_up "kubelane ended"
