#!/usr/bin/env bash
# Lays out the files of the image (Dockerfile) on a Debian machine of its architecture.
# usage: image_root.sh KUBELANE FOLDER
set -euo pipefail
binary=${1:?usage: image_root.sh KUBELANE FOLDER}
root=${2:?usage: image_root.sh KUBELANE FOLDER}

# The packages behind what ends up in the image: for scanners, and for their licences. The second
# line is what the binary is linked with statically.
packages=(libc6 libacl1 ca-certificates
  libssl-dev libyaml-cpp-dev libnghttp2-dev libprotobuf-dev libboost1.81-dev libspdlog-dev libfmt-dev
  libcli11-dev node-llhttp libstdc++-12-dev)
[ "$(uname -m)" != x86_64 ] || packages+=(libipsec-mb-dev)

install -d -m 0755 "$root"/{usr/bin,etc/ssl/certs,usr/lib/ssl,var/lib/dpkg/status.d}
strip -o "$root/usr/bin/kubelane" "$binary"
chmod 0755 "$root/usr/bin/kubelane"

# The loader and the libraries, under the very names by which the binary asks for them.
ldd "$binary" | sed -nE 's/^(.* => )?[[:space:]]*(\/[^ ]+) \(0x.*/\2/p' | while read -r library; do
  install -D -m 0755 "$(readlink -f "$library")" "$root$library"
done

install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
ln -s /etc/ssl/certs/ca-certificates.crt "$root/usr/lib/ssl/cert.pem"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
printf '%s\n' root:x:0:0:root:/:/none nonroot:x:65532:65532:nonroot:/:/none >"$root/etc/passwd"
printf '%s\n' root:x:0: nonroot:x:65532: >"$root/etc/group"

# Places to mount on, for those who run it without mounts, too.
install -d -o 65532 -g 65532 -m 0750 "$root/run/kubelane" "$root/var/lib/kubelane"

for package in "${packages[@]}"; do
  dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$package"
  install -D -m 0644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
done
