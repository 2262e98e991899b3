# The guest's first process, stage two: sets up what `settings` says, then runs what the host asks for.
#
# Five virtio ports lead to the host. On `control` come heads of 64 bytes, "LENGTH TOKEN INPUT", with so
# many bytes of a shell script behind them, and go the lines "ready NS", "started", "exit CODE NS",
# "signalled" and "more". On `signals` come numbers of signals for the command, with SIGWINCH the rows
# and columns that its terminal is to have. `stdin`, `stdout` and `stderr` are the command's. After each
# "more" the input brings a line with a length and so many bytes; 0 is its end. When the command has closed an output, the token goes there: nothing follows.
# What the command leaves behind may hold it open; then it is closed a second after the command's end.
# A port can be opened but once, so the command gets pipes.

cd /run/nettax-lab || exit
./busybox mount -a -T fstab 2>/dev/null # not every kernel has all of it
# SHARES, NEEDS, LOAD, ADDRESS: in lists a path's odd bytes are \0nnn, for printf.
. ./settings

fail() {
	echo "nettax-lab: $*" >/dev/console
	poweroff -f
}

now() { # ns: nanoseconds since boot
	{
		read -r _
		read -r _
		read -r _ _ ns _
	} </proc/timer_list # its third line: now at NS nsecs
}

port() { # path: the device of the port of this name, which appears some time after its driver
	tries=0
	until [ $tries -ge 1000 ]; do
		for each in /sys/class/virtio-ports/*; do
			read -r name <"$each/name" && [ "$name" = "$1" ] && path=/dev/${each##*/} && return
		done 2>/dev/null
		sleep 0.01
		tries=$((tries + 1))
	done
	fail "the port $1 did not appear: the kernel takes virtio_console"
}

feed() { # what the host has for the command, to standard output; read to its end whoever takes it
	while echo more >&3 && read -r length && [ "$length" != 0 ]; do
		dd bs="$length" count=1 iflag=fullblock 2>/dev/null
	done <&4
}

drain() { # NAME: what comes out of this pipe, and at its end the token
	cat "$1" &
	echo $! >"reader.$1"
	wait $!
	printf %s "$token"
	rm -f "$1" "reader.$1"
}

echo nettax-lab >/proc/sys/kernel/hostname
ip link set lo up
tag=0
for each in $SHARES; do
	each=$(printf %b "$each")
	mkdir -p "$each"
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=mmap "share$tag" "$each" ||
		fail "$each could not be mounted"
	tag=$((tag + 1))
done
if [ "$ADDRESS" ]; then
	echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6 2>/dev/null # nothing but what is sent
	ip address add "$ADDRESS/24" dev eth0 && ip link set eth0 up || fail "the NIC did not come up"
fi
# shellcheck disable=SC2086  # names are words
[ -z "$NEEDS" ] || modprobe -a $NEEDS || fail "one of $NEEDS would not load, which a module needs"
printf '%s' "$LOAD" | while read -r path parameters; do
	# shellcheck disable=SC2086  # parameters are words
	insmod "$(printf %b "$path")" $parameters || fail "${path##*/} would not load"
done

port control && exec 3<>"$path"
port stdin && exec 4<"$path"
port stdout && exec 5>"$path"
port stderr && exec 6>"$path"
port signals && exec 7<"$path"

while read -r number rows columns; do
	tries=0
	until read -r pid <pid || [ $tries -ge 100 ]; do # the command may be about to begin
		sleep 0.01
		tries=$((tries + 1))
	done
	if [ "$rows" ]; then # the terminal's own signal follows
		stty -F "$(cat tty)" rows "$rows" cols "$columns"
	else
		kill "-$number" "-$pid"
	fi
	echo signalled >&3
done <&7 2>/dev/null &

feeder=
now
echo "ready $ns" >&3
# Not by `read`, which the end of any child interrupts, and what it has read by then is lost.
while head=$(dd bs=64 count=1 iflag=fullblock 2>/dev/null <&3) && [ "$head" ]; do
	# shellcheck disable=SC2086  # three words
	set -- $head
	token=$2
	dd bs="$1" count=1 iflag=fullblock of=guest 2>/dev/null <&3
	mkfifo "out.$token" "err.$token"
	drain "out.$token" >&5 &
	drain "err.$token" >&6 &
	in=/dev/null
	if [ "$3" = 1 ]; then
		in=in.$token
		mkfifo "$in"
		[ -z "$feeder" ] || wait "$feeder" # it is about to see the end of its input
		feed >"$in" &
		feeder=$!
	fi
	echo started >&3
	now
	began=$ns
	# In the foreground: a shell has background commands ignore SIGINT. In a shell without children, as
	# the end of one interrupts the opening of a pipe.
	(exec setsid /bin/sh guest <"$in" >"out.$token" 2>"err.$token")
	code=$?
	now
	rm -f pid tty "in.$token"
	[ -z "$SHARES" ] || sync
	echo "exit $code $((ns - began))" >&3
	tries=0
	while [ -e "out.$token" ] || [ -e "err.$token" ]; do
		sleep 0.02
		tries=$((tries + 1))
		[ $tries -ne 50 ] || for each in "out.$token" "err.$token"; do
			read -r pid <"reader.$each" && kill "$pid" # its token follows
		done 2>/dev/null
	done
done
