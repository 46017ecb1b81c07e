#!/usr/bin/env bash
# Renders deploy/kubernetes with `kubectl kustomize` and lets Kubernetes judge it, twice:
#   - as it is, by the library that decides Pod Security (tests/pod_security), under `restricted`;
#   - by the kube-rig's real kube-apiserver, by server-side dry-run: every object, and a pod of each
#     template. It is an old one (1.20): for it two objects take their earlier version, and native
#     sidecars are ordinary containers.
# usage: KUBE_RIG=FOLDER tests/deploy_check.sh     needs Go 1.21 or newer, and its module proxy
# Closing line: "N passed, N failed".
set -euo pipefail
rig=${KUBE_RIG:?set KUBE_RIG to the folder of the kube-rig}
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
export RIG_DIR=$work/rig RIG_KCM=0
cleanup() {
  bash "$rig/k8s-down.sh" >&2 || true
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
bash "$rig/setup.sh" >&2
bash "$rig/k8s-up.sh" --fresh >&2
kc() { kubectl --cache-dir "$work/cache" --kubeconfig "$RIG_DIR/admin.kubeconfig" "$@"; }
(cd "$source/tests/pod_security" && go build -o "$work/pod_security" .)

# shellcheck source=tests/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

# objects.py <OBJECTS: a list for the old server, with a pod of each template
cat >"$work/objects.py" <<'PY'
import copy, json, sys
text, decoder, objects = sys.stdin.read().strip(), json.JSONDecoder(), []
while text:
    item, end = decoder.raw_decode(text)
    objects.append(item)
    text = text[end:].strip()
OLD = {"autoscaling/v2": "autoscaling/v2beta2", "policy/v1": "policy/v1beta1"}
for o in list(objects):
    o["apiVersion"] = OLD.get(o["apiVersion"], o["apiVersion"])
    if template := o.get("spec", {}).get("template"):
        metadata = dict(template.get("metadata", {}), name=o["metadata"]["name"] + "-template")
        if "namespace" in o["metadata"]: metadata["namespace"] = o["metadata"]["namespace"]
        objects.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                        "spec": copy.deepcopy(template["spec"])})
for o in objects:
    for spec in [o.get("spec", {}), o.get("spec", {}).get("template", {}).get("spec", {})]:
        for c in [c for c in spec.get("initContainers", []) if c.get("restartPolicy")]:
            spec["initContainers"].remove(c)
            del c["restartPolicy"]
            spec["containers"].append(c)
json.dump({"apiVersion": "v1", "kind": "List", "items": objects}, sys.stdout)
PY

kc create namespace deployed >/dev/null
# A namespace of a dry-run is none for what is in it.
kc apply --server-side -f "$source/deploy/kubernetes/standalone/namespace.yaml" >/dev/null

render() { kubectl kustomize "$source/deploy/$1"; }
restricted() { render "$1" | "$work/pod_security"; }
# By the server, without a warning. FOLDER NAMESPACE
accepted() {
  render "$1" | kubectl label --local -f - -o json checked=yes | python3 "$work/objects.py" \
    >"$work/objects.json" || return 1
  kc -n "$2" apply --server-side --dry-run=server -f "$work/objects.json" >"$work/answer" 2>&1 &&
    ! grep -i warning "$work/answer" && return
  cat "$work/answer" && return 1
}
# A pod whose containers lost their securityContext, a field that there is not.
refused() {
  render "$1" | sed -E "$2" | "$work/pod_security" >"$work/answer" && return 1
  grep "$3" "$work/answer"
}
sidecars_first() {
  render "$1" | kubectl label --local -f - -o jsonpath="{.spec.template.spec.initContainers[0]['name','restartPolicy']}{'\n'}" \
    checked=yes | grep -v '^ *$' | sort | uniq -c | grep -E '^ *2 kubelane Always$'
}

for folder in teleport kubernetes/{pod,component-example,job,standalone,secrets}; do
  namespace=deployed
  [ "$folder" != kubernetes/standalone ] || namespace=kubelane
  check "$folder: the API server accepts it" accepted "$folder" "$namespace"
  check "$folder: current types know all fields, pods are restricted" restricted "$folder"
done
for folder in kubernetes/{pod,component-example,job,standalone}; do
  check "$folder: refused when it may gain privileges" \
    refused "$folder" 's/(allowPrivilegeEscalation): false/\1: true/' 'violates PodSecurity'
  check "$folder: refused without a seccomp profile" \
    refused "$folder" 's/type: RuntimeDefault/type: Unconfined/' 'violates PodSecurity'
  check "$folder: refused with a misspelt field" \
    refused "$folder" 's/readOnlyRootFilesystem/readOnlyRootFileSystem/' 'unknown field'
done
check "the component puts kubelane before all other containers" sidecars_first kubernetes/component-example
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
