#!/bin/sh
# Makes a trial on one of the machines in $HOSTS ("big1 big2 user@big3"), which take turns. They need QEMU, tar and
# a login without a password. KVERDICT_PLACE is a folder there for what trials need (default: .cache/kverdict-trials).
set -eu
spec=$1 index=$2 out=$3
run=$(dirname "$spec")
name=$(basename "$run")

: "${HOSTS:?write the machines into HOSTS, such as HOSTS=\"big1 big2\"}"
set -- $HOSTS
shift $((index % $#))
host=$1
place=${KVERDICT_PLACE:-.cache/kverdict-trials}/$name

# Kernels and the like, which never change in a run, go there once; the spec gets longer.
if ! ssh "$host" "test -e $place/complete"; then
    ssh "$host" "mkdir -p $place"
    tar -C "$run" -cf - --exclude=build.log --exclude=config kverdict builds initramfs-load.cpio |
        ssh "$host" "tar -C $place -xf - && : > $place/complete"
fi
ssh "$host" "cat > $place/spec-$index.json" < "$spec"
ssh "$host" "$place/kverdict trial --spec $place/spec-$index.json --index $index --out $place/trials" > /dev/null

# Back, whole or not at all.
mkdir -p "$out"
incoming=$(mktemp -d "$out/.incoming-XXXXXX")
trap 'rm -rf "$incoming"' EXIT
id=$(printf %04d "$index")
ssh "$host" "cd $place/trials && tar -cf - $id-*" | tar -C "$incoming" -xf -
for folder in "$incoming"/*; do
    [ -e "$out/$(basename "$folder")" ] || mv "$folder" "$out/"
done
