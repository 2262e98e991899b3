#!/bin/sh
# Build what is published into DIRECTORY (dist): the sdist, and from it a wheel for each machine.
# The same commit gives the same bytes, by the same compilers.
set -eu
out=${1:-dist}
python=${PYTHON:-.venv/bin/python}

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
mkdir -p "$out"
rm -f "$out"/nettax-*.tar.gz "$out"/nettax-*.whl
"$python" -m hatchling build --target sdist --directory "$out"
for machine in x86_64 aarch64; do
	NETTAX_MACHINE=$machine "$python" -m pip wheel --quiet --no-deps --no-cache-dir \
		--no-build-isolation --wheel-dir "$out" "$out"/nettax-*.tar.gz
done
ls -l "$out"
