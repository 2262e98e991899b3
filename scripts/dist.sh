#!/bin/sh
# Build what is published into DIRECTORY (dist): the sdist, and from it a wheel for each machine.
# The same commit gives the same bytes, by the same compilers.
set -eu
python=$(realpath --no-symlinks "${PYTHON:-.venv/bin/python}")
mkdir -p "${1:-dist}"
out=$(realpath "${1:-dist}")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
rm -f "$out"/nettax-*.tar.gz "$out"/nettax-*.whl
"$python" -m hatchling build --target sdist --directory "$out" >/dev/null
tar -xzf "$out"/nettax-*.tar.gz -C "$tree" --strip-components=1
cd "$tree"
for machine in ${MACHINES:-x86_64 aarch64}; do
	NETTAX_MACHINE=$machine "$python" -m hatchling build --target wheel --directory "$out" >/dev/null
done
ls -l "$out"
