#!/bin/sh
# run.sh [NAME...]: every check of the models, or those named, with the expected verdict.
#   ok    no error in a complete search          live  no cycle without progress either
#   BAD   a counterexample must be found: a rule was taken out, or one that was dropped put in
# results.txt gets a line each (its first word is "pass", or else something is wrong). Needs spin, gcc, up to 7 GiB and one core: about
# 10 minutes where it is idle; those marked "slow" take half of that. A trail: cd build/NAME && spin [-D...] -t -p MODEL
# shellcheck disable=SC2086 # $none and $full are lists of options
cd "$(dirname "$0")" || exit 1
results=results.txt; names=" $* "
[ $# -eq 0 ] || results=build/results.txt
mkdir -p build; : > $results
check() {
  want=$1; model=$2; name=$3; shift 3
  case "$names" in '  ' | *" $name "*) ;; *) return ;; esac
  if [ "$want" = live ]; then
    line=$(COMPILE='-DCOLLAPSE -DNP' ./one.sh "$model" "$name" -l "$@")
  else
    line=$(./one.sh "$model" "$name" '' "$@")
  fi
  case "$want/$line" in
    ok/*errors=0*reached* | ok/*errors=0*memory*) verdict=PART ;;
    ok/*errors=0* | live/*errors=0* | BAD/*errors=1*) verdict=pass ;;
    *) verdict=FAIL ;;
  esac
  printf '%s %-4s %s\n' $verdict "$want" "$line" | sed 's/ *$//' | tee -a $results
}
none='-DCRASH=0 -DREBOOT=0'

# pair.pml: what is built, within these bounds of crashes (c), reboots (b) and renewals (n)
bounds() { check ok pair.pml "pair_$1" "-DCRASH=$2" "-DREBOOT=$3" "-DRENEW=$4"; }
bounds n1 0 0 1; bounds n2 0 0 2; bounds n3 0 0 3; bounds c1n1 1 0 1; bounds c2n0 2 0 0
bounds b1n1 0 1 1; bounds b2n0 0 2 0; bounds c1b1n0 1 1 0
bounds c1n2 1 0 2 # slow
bounds c2n1 2 0 1 # slow
bounds c1b1n1 1 1 1 # slow
check ok pair.pml pair_fresh_c1 -DFRESH -DCRASH=1 -DREBOOT=0 -DRENEW=0
check ok pair.pml pair_wipe1n1 $none -DRENEW=1 -DWIPE=1
check ok pair.pml pair_wipe1c1 -DCRASH=1 -DREBOOT=0 -DRENEW=0 -DWIPE=1
check ok pair.pml pair_abort1n1 $none -DRENEW=1 -DABORT=1
check live pair.pml pair_live_n2 $none -DRENEW=2
check live pair.pml pair_live_c1n1 -DCRASH=1 -DREBOOT=0 -DRENEW=1
check live pair.pml pair_live_b1n1 -DCRASH=0 -DREBOOT=1 -DRENEW=1
# single rules taken out (those expected ok are redundant within these bounds)
check BAD pair.pml pair_WITHDRAW $none -DRENEW=2 -DWITHDRAW
check BAD pair.pml pair_BELOWONLY $none -DRENEW=3 -DBELOWONLY
check ok pair.pml pair_DROPEARLY -DCRASH=1 -DREBOOT=0 -DRENEW=2 -DDROPEARLY # slow
check BAD pair.pml pair_NOORPHANS -DCRASH=2 -DREBOOT=0 -DRENEW=1 -DNOORPHANS
check BAD pair.pml pair_LIM2 -DCRASH=1 -DREBOOT=0 -DRENEW=2 -DLIM=2
check BAD pair.pml pair_ABORTLIT $none -DRENEW=1 -DABORT=1 -DABORTLIT
check BAD pair.pml pair_PUBSEND $none -DRENEW=1 -DPUBSEND
check BAD pair.pml pair_DIFFREMOVE -DCRASH=1 -DREBOOT=0 -DRENEW=1 -DDIFFREMOVE
check BAD pair.pml pair_NOLEDGER -DCRASH=1 -DREBOOT=0 -DRENEW=1 -DNOLEDGER
check BAD pair.pml pair_MONOONLY $none -DRENEW=0 -DWIPE=1 -DMONOONLY
check BAD pair.pml pair_FIXHALF $none -DRENEW=0 -DWIPE=1 -DFIXHALF
check ok pair.pml pair_NOBOOTID -DCRASH=0 -DREBOOT=1 -DRENEW=1 -DNOBOOTID
check ok pair.pml pair_LEDONLY -DCRASH=1 -DREBOOT=0 -DRENEW=1 -DLEDONLY
check ok pair.pml pair_PROBETOP $none -DRENEW=3 -DPROBETOP
# a full pair: what was never used gives way (ADR 8)
full='-DSKIPOK=1 -DSUPER'
check ok pair.pml full_n2 $none -DRENEW=2 $full
check ok pair.pml full_c1n1 -DCRASH=1 -DREBOOT=0 -DRENEW=1 $full
check ok pair.pml full_b1n1 -DCRASH=0 -DREBOOT=1 -DRENEW=1 $full
check ok pair.pml full_wipe1n1 $none -DRENEW=1 -DWIPE=1 $full
check ok pair.pml full_abort1n1 $none -DRENEW=1 -DABORT=1 $full
check ok pair.pml full_fresh_c1 -DFRESH -DCRASH=1 -DREBOOT=0 -DRENEW=0 $full
# and, as the last resort, what is silent
full="-DREBOOT=0 $full -DCHANNEL"
check ok pair.pml last -DCRASH=0 -DRENEW=0 -DFLUSH=3 -DLAST $full
check BAD pair.pml last_without -DCRASH=0 -DRENEW=0 -DFLUSH=3 $full
check BAD pair.pml last_EAGER -DCRASH=0 -DRENEW=1 -DFLUSH=2 -DLAST -DEAGER $full
check BAD pair.pml last_GIVEUSED -DCRASH=0 -DRENEW=0 -DFLUSH=3 -DLAST -DGIVEUSED $full
check BAD pair.pml last_DOWN -DCRASH=1 -DRENEW=3 -DFLUSH=0 -DLAST -DDOWN $full
# clauses.pml: clauses that were tried and dropped, and words that list no SAs
check ok clauses.pml clauses_n2 $none -DRENEW=2
check ok clauses.pml clauses_c1n1 -DCRASH=1 -DREBOOT=0 -DRENEW=1
check BAD clauses.pml clauses_LIM3 $none -DRENEW=3 -DLIM=3
check BAD clauses.pml clauses_READY $none -DRENEW=1 -DLIT_READY
check BAD clauses.pml clauses_READY_crash -DCRASH=1 -DREBOOT=0 -DRENEW=1 -DLIT_READY -DCHARITABLE
check BAD clauses.pml clauses_READY_reboot -DCRASH=0 -DREBOOT=1 -DRENEW=0 -DLIT_READY -DCHARITABLE -DNOBOOTID
check ok clauses.pml clauses_READY_implied $none -DRENEW=1 -DLIT_READY -DIMPLIED
check BAD clauses.pml clauses_EDGE -DCRASH=1 -DREBOOT=0 -DRENEW=1 -DEDGE
check BAD clauses.pml clauses_OLDMINE $none -DRENEW=1 -DOLDMINE
check BAD clauses.pml clauses_DROPANY $none -DRENEW=2 -DDROPANY
# lanes, numbers of sessions
check ok lanes.pml lanes
for rule in ONEPROBE TAKELANE0 STALELANES; do check BAD lanes.pml lanes_$rule -D$rule; done
check ok limit.pml limit -DAMEND -DWANT=5
check BAD limit.pml limit_LIT -DLIT -DWANT=5
check BAD limit.pml limit_LITSUPER -DLITSUPER -DWANT=5 -DM=64
check BAD limit.pml limit_NOSKIP -DAMEND -DNOSKIP -DWANT=9
# joining
for bound in 00 10 01 11; do
  check ok join.pml join_c${bound%?}b${bound#?} -DCRASH=${bound%?} -DREBOOT=${bound#?}
  check ok join.pml join_active_c${bound%?}b${bound#?} -DBACT -DCRASH=${bound%?} -DREBOOT=${bound#?}
done
for rule in REPPROVED NOREP EARLY REPNOMARK MARKSWITCH FALLBACK RECOMPUTE NOWORD NODRAIN PUBSWITCH STALEWORD REPSWITCH; do
  check BAD join.pml join_$rule -DCRASH=1 -DREBOOT=1 -D$rule
done
check BAD join.pml join_NODEMARK -DBACT -DCRASH=1 -DREBOOT=1 -DNODEMARK
# leaving, and without a peer that is down (ADR 24)
check ok leave.pml leave -DAMEND
for rule in LIT LITHALF SYMACK; do check BAD leave.pml leave_$rule -D$rule; done
check BAD leave.pml leave_RECANT -DAMEND -DRECANT
check ok away.pml away
check ok away.pml away_crash2 -DCRASH=2
for rule in NOAWAY SILENCE DOWNONLY NOSTONE ABSENCE UIDONLY FRESH NOFORMER; do check BAD away.pml away_$rule -D$rule; done
# sessions told over the pair (ADR 36): not built
check ok offer.pml offer
check ok offer.pml offer_b2n1 -DREBOOT=2 -DRENEW=1 -DCRASH=0
check ok offer.pml offer_c2n2 -DREBOOT=0 -DCRASH=2
for rule in NOFETCH ANYOFFER NOKEEP UNPUBLISHED ONCE EAGER; do check BAD offer.pml offer_$rule -D$rule; done
# rotation
check ok epoch.pml epoch
check BAD epoch.pml epoch_NEWEST -DNEWEST
check BAD epoch.pml epoch_ABORTANY -DABORTANY
check ok epoch.pml epoch_EARLYRM -DEARLYRM
echo "$(grep -c ^pass $results) as expected"
grep -v ^pass $results
exit 0
