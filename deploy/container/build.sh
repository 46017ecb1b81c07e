#!/usr/bin/env bash
# Builds the image where no registry of images can be reached: with buildah, on a base by debootstrap.
# usage: build.sh FOLDER     as root; leaves FOLDER/kubelane.oci.tar and keeps layers and base there
# Environment: BASE, an image to take instead of the one by debootstrap.
set -euo pipefail
folder=${1:?usage: build.sh FOLDER}
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
storage=(--root "$folder/storage" --runroot "$folder/runroot")

cleanup() {
  # The overlay driver leaves its folder mounted on itself.
  ! mountpoint -q "$folder/storage/overlay" || umount -l "$folder/storage/overlay"
}
trap cleanup EXIT

base=${BASE:-}
if [ -z "$base" ]; then
  base=localhost/kubelane-base
  if ! buildah "${storage[@]}" inspect --type image "$base" >/dev/null 2>&1; then
    rm -rf "$folder/base"
    debootstrap --variant=minbase bookworm "$folder/base" >"$folder/debootstrap.log"
    # The machine's own Debian archives, those of security updates among them.
    if [ -f /etc/apt/sources.list.d/debian.sources ]; then
      rm -f "$folder/base/etc/apt/sources.list"
      cp /etc/apt/sources.list.d/debian.sources "$folder/base/etc/apt/sources.list.d/"
    elif [ -f /etc/apt/sources.list ]; then
      cp /etc/apt/sources.list "$folder/base/etc/apt/"
    fi
    working=$(buildah "${storage[@]}" from scratch)
    buildah "${storage[@]}" add -q "$working" "$folder/base" / >/dev/null
    buildah "${storage[@]}" commit -q --rm "$working" "$base" >/dev/null
    rm -rf "$folder/base"
  fi
fi

version=$(sed -nE 's/^project\(kubelane VERSION ([0-9.]+).*/\1/p' "$source/CMakeLists.txt")
buildah "${storage[@]}" build --isolation chroot --network host --layers --pull=never \
  --ignorefile "$source/deploy/container/Dockerfile.dockerignore" \
  --build-arg "BASE=$base" --build-arg "VERSION=$version" \
  -f "$source/deploy/container/Dockerfile" -t localhost/kubelane "$source"
rm -f "$folder/kubelane.oci.tar"
buildah "${storage[@]}" push -q localhost/kubelane "oci-archive:$folder/kubelane.oci.tar:kubelane"
