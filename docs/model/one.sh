#!/bin/sh
# one.sh MODEL NAME "pan flags" [-D...]: build and run one spin check in build/NAME, print one line.
# LIMIT: seconds until it is given up. COMPILE: what pan is compiled with.
model=$1; name=$2; flags=$3; shift 3
rm -rf "build/$name"; mkdir -p "build/$name"
cp "$model" "build/$name/"; cd "build/$name" || exit 1
spin "$@" -a "$model" > spin.log 2>&1 || { echo "$name SPIN-ERROR"; cat spin.log; exit 1; }
# shellcheck disable=SC2086 # a list of options
gcc -O2 -w -o pan pan.c -DMEMLIM=7000 ${COMPILE--DCOLLAPSE -DSAFETY} || exit 1
# shellcheck disable=SC2086 # a list of options
timeout "${LIMIT:-3600}" ./pan -m2000000 $flags > pan.log 2>&1
rc=$?
errors=$(sed -n 's/.*errors: //p' pan.log)
states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
depth=$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' pan.log)
broken=$(grep -m1 -E 'assertion violated|invalid end state|non-progress cycle|acceptance cycle' pan.log | grep -v '[-+] *$' | grep -v '(fairness' \
  | sed 's/^pan:[0-9]*: //' | cut -c1-90)
cut=$(grep -m1 -E 'search depth too small|out of memory|memory limit|pan: reached' pan.log)
printf '%-24s errors=%-2s states=%-10s depth=%-6s rc=%d %s %s\n' "$name" "$errors" "$states" "$depth" $rc "$broken" "$cut"
