#!/bin/sh
# Install a wheel into a clean system and measure with it: check-clean.sh SUITE WHEEL
# SUITE is a release of Debian or Ubuntu: bookworm, trixie, noble. Root; mmdebstrap. The system is
# made in a temporary directory, uses this kernel, and is gone when this ends.
set -eu
suite=$1
wheel=$2

directory=$(mktemp -d)
trap 'rm -rf --one-file-system "$directory"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
system=$directory/system

# Ubuntu's keys, which Debian has a package of, where this host has not.
keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg
if [ "$suite" = noble ] && [ ! -e "$keyring" ]; then
	mmdebstrap --quiet --mode=root --variant=extract --include=ubuntu-archive-keyring \
		trixie "$directory/keys"
	keyring=$directory/keys$keyring
fi
case $suite in
noble) set -- --components=main,universe --keyring="$keyring" ;;
*) set -- ;;
esac
mmdebstrap --quiet --mode=root --variant=minbase --include=python3-venv,libbpf1 "$@" \
	"$suite" "$system"

# With its dependencies, since the system shall need no network.
"${PYTHON:-.venv/bin/python}" -m pip --quiet download --dest "$system/wheels" "$wheel"

# Mounts end with the namespace.
unshare --mount sh -eu -c '
	mount --make-rprivate /
	mount --rbind /proc "$1/proc"
	mount --rbind /sys "$1/sys"
	exec chroot "$1" env -i PATH=/opt/nettax/bin:/usr/bin:/bin HOME=/root sh -eux -c "
		! command -v cc && ! command -v clang
		python3 -m venv /opt/nettax
		pip --quiet install --no-index --find-links /wheels nettax
		nettax --version
		nettax doctor
		nettax stat -d 1
	"
' - "$system"
