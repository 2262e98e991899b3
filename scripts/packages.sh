#!/bin/sh
# Install the system packages that building and testing need, where they are missing; `dist` also
# what crosses to arm64, `clean` what makes clean systems to try a wheel in, `lab` what guests boot by.
# Debian 12/13 and Ubuntu 24.04; elsewhere it says what is needed.
set -eu

missing=
need() { # need PACKAGE TEST...: the package, and a command that succeeds where it is there
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}

need clang clang --version
need llvm sh -c 'command -v llvm-strip || ls /usr/bin/llvm-strip-*'
need libbpf-dev test -e /usr/include/bpf/bpf_tracing.h
need gcc cc --version
need libc6-dev test -e /usr/include/stdio.h
need python3-venv python3 -c 'import ensurepip, venv'
need iproute2 ip -V
need openssl openssl version
need tmux tmux -V
need linux-perf sh -c 'command -v perf'
# Load tools that the tests run.
need wrk sh -c 'command -v wrk'
need apache2-utils ab -V
need nghttp2-client h2load --version
need iperf3 iperf3 --version
need sockperf sh -c 'command -v sockperf'
for purpose; do
	case $purpose in
	dist)
		need gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc --version
		need libc6-dev-arm64-cross test -e /usr/aarch64-linux-gnu/include/stdio.h
		;;
	clean)
		need mmdebstrap mmdebstrap --version
		need qemu-user-static qemu-aarch64-static --version
		;;
	lab)
		need qemu-system-x86 qemu-system-x86_64 --version
		need busybox-static sh -c 'test -x /bin/busybox && ! ldd /bin/busybox'
		need kmod sh -c 'PATH=$PATH:/usr/sbin:/sbin command -v depmod'
		need zstd zstd --version
		need dwarves pahole --version
		;;
	esac
done

[ -n "$missing" ] || exit 0
# Ubuntu ships perf in linux-tools.
if grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null; then
	missing=$(echo "$missing" | sed 's/ linux-perf/ linux-tools-generic/')
fi
if ! command -v apt-get >/dev/null; then
	echo "install these first (Debian's names):$missing" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "run first: sudo apt-get install$missing" >&2
	exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086  # a list of package names
apt-get install -y -qq --no-install-recommends $missing >/dev/null
