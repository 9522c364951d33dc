#!/bin/sh
# The first process of a test machine: makes it look like a host, runs the payload, powers off.
# Kernels since 6.1 have all that is mounted here; what fails is seen on the console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /etc /usr/sbin /usr/bin /sbin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpffs /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security
mount -t tracefs tracefs /sys/kernel/tracing
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
echo 127.0.0.1 localhost >/etc/hosts
ln -sf /proc/self/fd /dev/fd
ip link set lo up
# An emulated processor gets round to its packets late: it would drop what is more than a thousand.
echo 20000 >/proc/sys/net/core/netdev_max_backlog
for module in /modules/*.ko; do
    insmod "$module" || echo "cannot load $module"
done
export RUST_BACKTRACE=1 RUST_TEST_THREADS=1 COFFERDAM_TEST_VM=1
echo "kernel: $(uname -r)"
for name in $(echo "$COFFERDAM_SKIP" | tr , ' '); do
    set -- "$@" --skip "$name"
done
/payload "$@"
echo "payload exit: $?"
sync
echo o >/proc/sysrq-trigger
sleep 60
