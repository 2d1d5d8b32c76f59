#!/bin/sh
# Makes a trial on one of the machines in $HOSTS ("big1 big2 user@big3"), which take turns. They need QEMU, tar and
# a login without a password. KVERDICT_PLACE is a folder there for what trials need (default: .cache/kverdict-trials);
# what is in it is left there.
set -eu
spec=$1 index=$2 out=$3
run=$(dirname "$spec")
name=$(basename "$run")

: "${HOSTS:?write the machines into HOSTS, such as HOSTS=\"big1 big2\"}"
set -- $HOSTS
shift $((index % $#))
host=$1
places=${KVERDICT_PLACE:-.cache/kverdict-trials}
place=$places/$name

# Kernels and the like, which never change in a run, go there once; the spec gets longer. Another trial may bring them
# at the same time: the folder gets its name when all is in it, and nobody unpacks into one that others use.
if ! ssh "$host" "test -d $place"; then
    tar -C "$run" -cf - --exclude=build.log --exclude=config kverdict builds initramfs-load.cpio |
        ssh "$host" "mkdir -p $places && new=\$(mktemp -d $place.XXXXXX) && tar -C \$new -xf - &&
            mv -T \$new $place 2> /dev/null || rm -rf \$new; test -d $place"
fi
ssh "$host" "cat > $place/spec-$index.json" < "$spec"
ssh "$host" "$place/kverdict trial --spec $place/spec-$index.json --index $index --out $place/trials" > /dev/null

# Back, whole or not at all.
mkdir -p "$out"
incoming=$(mktemp -d "$out/.incoming-XXXXXX")
trap 'rm -rf "$incoming"' EXIT
trap 'exit 1' HUP INT TERM
id=$(printf %04d "$index")
ssh "$host" "cd $place/trials && tar -cf - $id-*" | tar -C "$incoming" -xf -
for folder in "$incoming"/*; do
    there=$out/$(basename "$folder")
    # Without a record it is what is left of a trial that was stopped.
    [ -e "$there/trial.json" ] || rm -rf "$there"
    [ -e "$there" ] || mv -T "$folder" "$there"
done
