#!/usr/bin/env bash
# The certificates of the benchmark, with Teleport's names: a host CA with the upstream's and the
# peers' server certificate, a user CA with a bot's client certificate. All keys ECDSA P-256, as
# Teleport's default suite has them. The client's files are laid out as tbot writes them.
# usage: make_pki.sh DIRECTORY UPSTREAM_PORT
set -euo pipefail
cd "$1"
port=$2
umask 077
mkdir -p credentials

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }
authority() {
  key "$1.key"
  openssl req -x509 -new -key "$1.key" -days 30 -out "$1.pem" -subj "/CN=bench.example/O=bench.example" \
    -addext keyUsage=critical,keyCertSign,cRLSign
}
# sign NAME AUTHORITY EXTENSIONS: NAME.csr to NAME.pem
sign() {
  openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 30 \
    -extfile <(printf 'basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\n%s\n' "$3") \
    -out "$1.pem" 2>/dev/null
}

authority host-ca
authority user-ca

key server.key
openssl req -new -key server.key -subj /CN=proxy.bench.example -out server.csr
sign server host-ca "extendedKeyUsage=serverAuth,clientAuth
subjectAltName=DNS:kube-teleport-proxy-alpn.teleport.cluster.local,DNS:localhost,IP:127.0.0.1"

# A bot's certificate: role in O, route in STREET, Kubernetes and Teleport cluster by Teleport's OIDs.
key client.key
openssl req -new -key client.key -out client.csr -config <(
  cat <<'CONFIG'
oid_section = teleport
[teleport]
kubernetesCluster = 1.3.9999.1.3
teleportCluster = 1.3.9999.1.7
[req]
prompt = no
distinguished_name = subject
[subject]
CN = bot-bench
O = role
street = bench.example
kubernetesCluster = bench
teleportCluster = bench.example
CONFIG
)
sign client user-ca extendedKeyUsage=serverAuth,clientAuth

cat server.key server.pem >server-with-key.pem
cat client.key client.pem >client-with-key.pem

cp client.pem credentials/tlscert
cp client.key credentials/key
cp host-ca.pem credentials/teleport-host-ca.crt
cat >credentials/kubeconfig.yaml <<YAML
apiVersion: v1
kind: Config
clusters:
- name: bench.example-bench
  cluster:
    server: https://127.0.0.1:$port
    tls-server-name: kube-teleport-proxy-alpn.teleport.cluster.local
YAML
