#!/bin/sh
# First process of the lab's guest. It is given one parameter, WC_DIR: the lab's state folder on the host, with a file guest.env
# that sets
#   WC_VEHICLE   uml or qemu: a kernel of its own; host: first process of namespaces on the machine's kernel
#   WC_MODULES   folder with this kernel's modules, by release
#   WC_DISKS     folders of the host (separated by ":", as all lists of folders) that the guest sees and cannot write
#   WC_SHARE     folders of the host that the guest sees and writes as they are
#   WC_ADDRESS   address and prefix length of the command server's link
#   WC_WIRE      1 when there is a second link, the lab's end of the wire between nodes
#   WC_RUN       program to run (words separated by "|"); the guest halts when it ends
# The root is an overlay over the host's disk, kept in memory: nothing that the guest writes elsewhere reaches the host.
set -e
umask 022
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
# shellcheck source=/dev/null
. "$WC_DIR/guest.env"

# The devices of a guest: all that its kernel has, or on the machine's kernel the few that programs need.
devices() {
  if [ "$WC_VEHICLE" != host ]; then
    mount -t devtmpfs dev $root/dev
    return
  fi
  mount -t tmpfs -o mode=755 dev $root/dev
  mkdir $root/dev/net
  for device in null zero full random urandom tty net/tun; do
    [ -e /dev/$device ] || continue
    : >$root/dev/$device
    mount --bind /dev/$device $root/dev/$device
  done
  ln -s pts/ptmx $root/dev/ptmx
  ln -s /proc/self/fd $root/dev/fd
}

# share FOLDER: show a folder of the host, to be written with effect.
share() {
  mkdir -p "$root$1"
  case $WC_VEHICLE in
    uml) mount -t hostfs -o "$1" share "$root$1" ;;
    qemu) mount --bind "$root/.share$1" "$root$1" ;;
    host) mount --bind "$1" "$root$1" ;;
  esac
}

# What the kernel itself must be told; the machine's own is left as it is.
kernel() {
  [ "$WC_VEHICLE" != host ] || return 0
  modprobe -q ipv6 || true
  sysctl -qw net.core.fb_tunnels_only_for_init_net=1
  # A guest that was not run for a second sends at once what has become due: its own queue must not lose what no other would.
  sysctl -qw net.core.netdev_max_backlog=20000
}

# The links to the lab outside, as vec0 and vec1.
links() {
  wanted="0 1"
  [ "$WC_WIRE" = 1 ] || wanted=0
  for number in $wanted; do
    case $WC_VEHICLE in
      qemu) ip link set "eth$number" name "vec$number" ;;
      host) nsenter --net=/proc/self/fd/9 ip link set "vec$number" netns $$ ;;
    esac
  done
}

modules=$WC_MODULES/$(uname -r)
[ "$WC_VEHICLE" != uml ] || [ ! -e "$modules/kernel/fs/overlayfs/overlay.ko" ] || insmod "$modules/kernel/fs/overlayfs/overlay.ko"
mount -t tmpfs -o mode=755 guest /mnt
root=/mnt/root
mkdir /mnt/upper /mnt/work $root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root $root
mount -t proc proc $root/proc
mount -t sysfs sys $root/sys
mount -t tmpfs -o mode=755 run $root/run
mount -t tmpfs -o mode=1777 tmp $root/tmp
devices
mkdir -p $root/dev/pts $root/dev/shm $root/run/netns $root/usr/lib/modules $root/.host
mount -t devpts -o ptmxmode=666 pts $root/dev/pts
mount -t tmpfs -o mode=1777 shm $root/dev/shm
mount -t bpf bpf $root/sys/fs/bpf
mount -t cgroup2 cgroup $root/sys/fs/cgroup

if [ "$WC_VEHICLE" = qemu ]; then
  mkdir $root/.share
  mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=mmap share $root/.share
fi
IFS=:
for folder in $WC_DISKS; do
  mount --bind "$folder" "$root$folder"
  mount -o remount,bind,ro "$root$folder"
done
if [ -d "$modules" ]; then
  mount --bind "$WC_MODULES" $root/usr/lib/modules
  mount -o remount,bind,ro $root/usr/lib/modules
fi
for folder in $WC_SHARE; do
  share "$folder"
done
unset IFS
[ "$WC_VEHICLE" != qemu ] || umount $root/.share

cd $root
if [ "$WC_VEHICLE" = host ]; then
  mkdir .outside
  mount --bind / .host
  pivot_root . .outside
  umount -l /.outside
  rmdir /.outside
else
  pivot_root . .host
fi
mount -o remount,bind,ro /.host

kernel
ip link set lo up
links
ip addr add "$WC_ADDRESS" dev vec0
ip link set vec0 up
if [ "$WC_WIRE" = 1 ]; then
  ip link add wire type bridge forward_delay 0 mcast_snooping 0
  sysctl -qw net.ipv6.conf.wire.disable_ipv6=1
  ip link set wire up
  ip link set vec1 up master wire
fi
set +e
IFS='|'
if [ "$WC_VEHICLE" = host ]; then
  exec 9<&-
  # shellcheck disable=SC2086  # split on purpose
  exec $WC_RUN
fi
# shellcheck disable=SC2086  # split on purpose
$WC_RUN
echo "lab: the guest's program ended with status $?"
/usr/bin/python3 -ISEc 'import ctypes; ctypes.CDLL(None).reboot(0x4321fedc)'
