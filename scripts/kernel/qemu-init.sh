#!/bin/sh
# First process of the initial disk that scripts/get-qemu makes: this machine's root, read-only, becomes the root; the kernel's
# parameters WC_INIT and WC_DIR, which it hands over as environment, say what runs then.
set -e
export PATH=/bin
busybox mount -t proc proc /proc
for module in /modules/*; do
  busybox insmod "$module"
done
busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose root /root
busybox umount /proc
exec busybox switch_root /root "$WC_INIT"
