#!/usr/bin/env bash
# Clients of other makes against kubelane's local side: h2spec's whole suite, nghttp, h2load, curl,
# Go's and Node's HTTP clients, in front of the lab with HTTP/2 on; and promtool on the metrics.
# usage: tests/clients.sh BUILD_FOLDER
# Needs curl, nghttp, h2load, promtool, go and node; go fetches h2spec. Closing line: "N passed, M failed".
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "${1:?usage: clients.sh BUILD_FOLDER}" && pwd)
work=$(mktemp -d)
# shellcheck source=tests/processes.sh
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
cleanup() {
  end_processes
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

wait_until() {
  local deadline=$((SECONDS + 20)) what=$1
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "clients.sh: gave up waiting for $what" >&2
      tail -n 20 "$work"/*.log >&2 || true
      return 1
    fi
    sleep 0.1
  done
}

GOBIN=$build/clients go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible

"$build/kubelane-lab" --dir "$work/lab" --http2 --cluster prod >"$work/ready.json" 2>"$work/lab.log" &
pids+=($!)
wait_until "the lab" grep -q '"ready"' "$work/ready.json"
proxy=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["proxy"])' <"$work/ready.json")

# start_kubelane NAME LOCAL_AUTH: sets url, port and token
start_kubelane() {
  cat >"$work/$1.yaml" <<YAML
version: v2
proxy_server: $proxy
proxy_ca: $work/lab/web-ca.pem
listen: 127.0.0.1:0
diag_addr: 127.0.0.1:0
local_auth: $2
services:
  - type: kubernetes/v2
    selectors: [{name: prod}]
    credentials: {type: directory, path: $work/lab/credentials}
    destination: {type: directory, path: $work/$1}
YAML
  "$build/kubelane" start -c "$work/$1.yaml" >"$work/$1.log" 2>&1 &
  pids+=($!)
  wait_until kubelane grep -q 'protocol=HTTP/2' "$work/$1.log"
  wait_until kubelane grep -q 'kubelane is ready' "$work/$1.log"
  url=$(sed -nE 's/^ *server: "?([^"]*)"?$/\1/p' "$work/$1/kubeconfig.yaml")
  token=$(sed -nE 's/^ *token: "?([^"]*)"?$/\1/p' "$work/$1/kubeconfig.yaml")
  port=$(sed -E 's,.*:([0-9]+)/.*,\1,' <<<"$url")
  sed -nE 's/^ *certificate-authority-data: "?([^"]*)"?$/\1/p' "$work/$1/kubeconfig.yaml" |
    base64 -d >"$work/$1-ca.pem"
}

passed=0 failed=0
# try WHAT EXPECTED COMMAND...: the output must match the extended regular expression
try() {
  local what=$1 expected=$2 output status=0
  shift 2
  output=$(timeout 300 "$@" 2>&1) || status=$?
  if [ "$status" = 0 ] && grep -qE -- "$expected" <<<"$output"; then
    echo "ok      $what"
    passed=$((passed + 1))
  else
    echo "FAILED  $what (exit status $status, wanted to see $expected)"
    tail -n 30 <<<"$output" | sed 's/^/        /'
    failed=$((failed + 1))
  fi
}

start_kubelane open none
try "h2spec, all of it" ' passed, 0 skipped, 0 failed' \
  "$build/clients/h2spec" -h 127.0.0.1 -p "$port" -t -k -P /prod/version --timeout 5
start_kubelane token token
bearer="Authorization: Bearer $token"
curl=(curl -s --noproxy '*' --cacert "$work/token-ca.pem" -o /dev/null
  -w '%{http_version} %{http_code}' -H "$bearer")
try "curl, by ALPN" '^2 200$' "${curl[@]}" "$url/version"
try "curl, HTTP/1.1" '^1.1 200$' "${curl[@]}" --http1.1 "$url/version"
try "nghttp" '"gitVersion"' nghttp -H "$bearer" "$url/version"
try "h2load, 8 connections of 16 streams" '10000 succeeded, 0 failed, 0 errored' \
  h2load -n 10000 -c 8 -m 16 -H "$bearer" "$url/version"
diagnostics=$(sed -nE 's/.* diagnostics address=(.*)$/\1/p' "$work/token.log")
# shellcheck disable=SC2016 # expanded by the inner shell
try "promtool on /metrics" '^agreed$' bash -o pipefail -c \
  'curl -sf --noproxy "*" "http://$0/metrics" | promtool check metrics && echo agreed' "$diagnostics"
try "Go" '^ok$' go run "$here/clients/list.go" "$url" "$work/token-ca.pem" "$token"
try "Node" '^ok$' node "$here/clients/list.mjs" "$url" "$work/token-ca.pem" "$token"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
