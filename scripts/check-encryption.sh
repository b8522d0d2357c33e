#!/bin/sh
# Is the pod traffic of this node encrypted? Looks at the wire with tcpdump; works on any node, without wirecrypt.
#
#   check-encryption.sh [-i IFACE | -n NODE_ADDRESS] [-l LOCAL_PREFIX]... [-r REMOTE_PREFIX]... [-s SECONDS]
#   check-encryption.sh -f PCAP -l PREFIX... -r PREFIX...
#
# On the receiving node a decrypted packet shows up again on the interface that its ESP packet came in by, so a packet
# without ESP on the way *in* means nothing. Cleartext is judged on what *leaves* the interface alone; ESP is counted in
# both directions. Run it on both ends. Needs a POSIX shell with its utilities, tcpdump, and `ip` for the defaults.
set -fu # no file names from prefixes, no unset variables
LC_ALL=C
export LC_ALL

CLEAR_MOST=2000 # packets kept of each kind: enough to name flows, and bounded whatever the traffic is
ESP_MOST=20000
SNAP=192 # bytes of each packet: headers, also inside VXLAN

usage() {
  cat <<'TEXT'
usage: check-encryption.sh [-i IFACE | -n NODE_ADDRESS] [-l LOCAL_PREFIX]... [-r REMOTE_PREFIX]... [-s SECONDS] [-f PCAP]

  -i IFACE          interface towards the other nodes (default: that of the node address)
  -n NODE_ADDRESS   this node's InternalIP (default: $NODE_IP, else what the host name stands for if that is an address of
                    this node, not a loopback one; else the interface of the default route, or of routes by other nodes, is taken)
  -l LOCAL_PREFIX   pods of this node (default: routes by local bridges and veths); this node's own addresses are added
  -r REMOTE_PREFIX  pods of other nodes (default: routes by other nodes)
  -s SECONDS        how long to look (default: 10)
  -f PCAP           judge a capture instead, made on the wire (a bridge, a switch's mirror port), both ways;
                    not on a node's own interface, where decrypted packets show up again

exit status:
  0   ESP was seen, and no cleartext
  1   cleartext was seen
  2   neither was seen, which proves nothing: send some pod traffic meanwhile
  64  wrong usage
  69  tcpdump is missing or could not do it
TEXT
}

bad_usage() {
  echo "check-encryption: $1" >&2
  usage >&2
  exit 64
}

unable() {
  echo "check-encryption: $1" >&2
  exit 69
}

iface='' node=${NODE_IP:-} locals='' remotes='' seconds=10 file=''
while getopts i:n:l:r:s:f:h option; do
  case $option in
  i) iface=$OPTARG ;;
  n) node=$OPTARG ;;
  l) locals="$locals $OPTARG" ;;
  r) remotes="$remotes $OPTARG" ;;
  s) seconds=$OPTARG ;;
  f) file=$OPTARG ;;
  h) usage && exit 0 ;;
  *) usage >&2 && exit 64 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -eq 0 ] || bad_usage "unknown argument: $1"
case $seconds in '' | *[!0-9]* | 0*) bad_usage "-s wants a whole number of seconds, 1 or more: $seconds" ;; esac
case $iface in *[!A-Za-z0-9_.@:-]*) bad_usage "not an interface: $iface" ;; esac
case $node in *[!0-9a-fA-F.:]*) bad_usage "not an address: $node" ;; esac
command -v tcpdump >/dev/null || unable "tcpdump is not installed"

# --- defaults, from the routes ------------------------------------------------------------------------------------

has_ip() { command -v ip >/dev/null; }
routes() { ip -4 route show 2>/dev/null && ip -6 route show 2>/dev/null; }

# carrier ADDRESS: the interface of this node that has the address; loopback ones lead nowhere.
carrier() {
  ip -o addr show 2>/dev/null | awk -v wanted="$1" '
    { name = $2; sub(/@.*/, "", name); address = $4; sub(/\/.*/, "", address) }
    name != "lo" && $3 ~ /^inet6?$/ && tolower(address) == tolower(wanted) { print name; exit }'
}

# What the host name stands for, one address a line; a kubelet that is not told its node address takes it from there, too.
host_addresses() {
  if command -v getent >/dev/null; then
    getent ahosts "$(uname -n)" | awk '!seen[$1]++ { print $1 }'
  elif command -v hostname >/dev/null; then
    hostname -i | tr ' ' '\n'
  fi 2>/dev/null | grep -v -e '^127\.' -e '^::1$' -e '^fe80:'
}

# The interface of the default route, else of a route by another node; of a tunnel, the one below it.
routed_iface() {
  name=$(routes | awk '
    { dev = ""; for (i = 1; i < NF; i++) if ($i == "dev") dev = $(i + 1) }
    $1 == "default" && dev != "" && found == "" { found = dev }
    / via / && $1 != "default" && other == "" { other = dev }
    END { print (found != "" ? found : other) }')
  [ -n "$name" ] || return 1
  below=$(ip -d -o link show dev "$name" 2>/dev/null |
    awk '{ for (i = 1; i < NF; i++) { if ($i == "vxlan") v = 1; if (v && $i == "dev") { print $(i + 1); exit } } }')
  echo "${below:-$name}"
}

# Sets iface, and why that one.
find_iface() {
  if [ -n "$node" ]; then
    iface=$(carrier "$node")
    [ -n "$iface" ] || bad_usage "no interface of this node has the address $node"
    why="it has the node's address $node"
    return
  fi
  for address in $(host_addresses); do
    iface=$(carrier "$address")
    [ -z "$iface" ] || { why="it has $address, which is what the host name stands for" && return; }
  done
  iface=$(routed_iface) || bad_usage "give the interface with -i: $hint"
  why='of its routes; the node address is not known here: give it with -n if another interface has it'
}

# Links that lead to pods of this node: bridges and veths, without the interface itself.
pod_links() {
  { ip -o link show type bridge && ip -o link show type veth; } 2>/dev/null |
    awk -v not="$iface" '{ sub(/:$/, "", $2); sub(/@.*/, "", $2); if ($2 != not) print $2 }'
  echo cilium_host
}

# find_prefixes local|remote
find_prefixes() {
  { pod_links | sed 's/^/link /'; routes; } | awk -v want="$1" '
    $1 == "link" { pods[$2] = 1; next }
    { via = dev = ""; for (i = 1; i < NF; i++) { if ($i == "via") via = $(i + 1); if ($i == "dev") dev = $(i + 1) } }
    $1 == "default" { gateway[via] = 1; next }
    # the block of pods that Calico gave this node
    $1 == "blackhole" { if (want == "local" && $2 != "default") print $2; next }
    $1 ~ /^(unreachable|prohibit|throw|nexthop|multicast|fe80:|ff00:|169\.254\.)/ { next }
    want == "local" && dev in pods { print $1 }
    want == "remote" && via != "" && !(dev in pods) { prefix[++n] = $1; by[n] = via }
    END { for (i = 1; i <= n; i++) if (!(by[i] in gateway)) print prefix[i] }' | sort -u
}

own_addresses() {
  ip -o addr show dev "$iface" 2>/dev/null | awk '$3 ~ /^inet6?$/ && $4 !~ /^fe80:/ { sub(/\/.*/, "", $4); print $4 }'
}

why=''
hint='this node has no ip command to find it by'
has_ip && hint='the routes do not tell it'
if [ -z "$file" ] && [ -z "$iface" ]; then
  has_ip || bad_usage "give the interface with -i: $hint"
  find_iface
fi
[ -n "$locals" ] || { has_ip && locals=$(find_prefixes local); }
[ -n "$remotes" ] || { has_ip && remotes=$(find_prefixes remote); }
[ -n "$locals" ] || bad_usage "give the pod prefixes of this node with -l: $hint"
[ -n "$remotes" ] || bad_usage "give the pod prefixes of other nodes with -r: $hint"
on_one_line() { echo "$*"; }
# shellcheck disable=SC2086 # one prefix a word
shown_locals=$(on_one_line $locals) shown_remotes=$(on_one_line $remotes)
[ -n "$file" ] || ! has_ip || locals="$locals $(own_addresses)"

# --- filters ------------------------------------------------------------------------------------------------------

# Reads words "l PREFIX" and "r PREFIX", writes the filter for cleartext from l to r, plain or inside VXLAN
# (RFC 7348: UDP 4789, and 8472 of Linux and flannel); with both=1 also from r to l. Fails for what is no prefix.
make_filter() {
  awk -v both="$1" '
    function bad(text) { print text > "/dev/stderr"; failed = 1; exit 1 }
    function hex(text,  i, n) {
      if (text !~ /^[0-9a-fA-F]+$/ || length(text) > 4) bad("not a prefix: " $2)
      for (i = 1; i <= length(text); i++) n = n * 16 + index("0123456789abcdef", tolower(substr(text, i, 1))) - 1
      return n
    }
    function fours(text, to,  part, n, i) {   # an IPv4 address as two groups of 16 bits
      n = split(text, part, ".")
      if (n != 4) bad("not a prefix: " $2)
      for (i = 1; i <= 4; i++) if (part[i] !~ /^[0-9]+$/ || part[i] > 255) bad("not a prefix: " $2)
      to[1] = part[1] * 256 + part[2]; to[2] = part[3] * 256 + part[4]
    }
    function sixes(text, to,  half, n, a, b, left, right, i) {   # an IPv6 address as eight groups
      n = split(text, half, "::")
      if (n > 2) bad("not a prefix: " $2)
      left = split(half[1], a, ":"); right = n == 2 ? split(half[2], b, ":") : 0
      if ((n == 1 && left != 8) || (n == 2 && left + right > 7)) bad("not a prefix: " $2)
      for (i = 1; i <= 8; i++) to[i] = 0
      for (i = 1; i <= left; i++) to[i] = hex(a[i])
      for (i = 1; i <= right; i++) to[8 - right + i] = hex(b[i])
    }
    function read(text,  part, n, group, count, i, bits, size, word, name) {
      n = split(text, part, "/")
      version = part[1] ~ /:/ ? 6 : 4
      count = version == 6 ? 8 : 2
      if (version == 6) sixes(part[1], group); else fours(part[1], group)
      size = n > 1 ? part[2] : count * 16
      if (n > 2 || size !~ /^[0-9]+$/ || size + 0 > count * 16) bad("not a prefix: " $2)
      inner = ""
      for (i = 1; i <= count; i++) {
        bits = size - 16 * (i - 1); bits = bits < 0 ? 0 : bits > 16 ? 16 : bits
        group[i] -= group[i] % 2 ^ (16 - bits)
        mask[i] = 65536 - 2 ^ (16 - bits)
      }
      # "AT+n" stands for the offset of the address, to be filled in: 32 bits at a time
      for (i = 1; i <= count; i += 2) if (mask[i] > 0) {
        word = sprintf("BASE[AT+%d:4]", 2 * (i - 1))
        if (mask[i + 1] < 65535) word = word sprintf(" & 0x%04x%04x", mask[i], mask[i + 1])
        inner = inner (inner == "" ? "" : " and ") word sprintf(" = 0x%04x%04x", group[i], group[i + 1])
      }
      if (version == 4) name = sprintf("%d.%d.%d.%d", group[1] / 256, group[1] % 256, group[2] / 256, group[2] % 256)
      else for (i = 1; i <= 8; i++) name = name (i > 1 ? ":" : "") sprintf("%x", group[i])
      prefix = name "/" size
      if (inner == "") bad("a prefix of every address is none of pods: " $2)
    }
    function or(list, item) { return list == "" ? item : list " or " item }
    function placed(text, base, at) { gsub(/BASE/, base, text); gsub(/AT/, at, text); return "(" text ")" }
    function inside(version, from, to,  udp4, udp6, kind, start, size) {
      kind = version == 4 ? "0x0800" : "0x86dd"; start = version == 4 ? 12 : 8
      size = version == 4 ? 4 : 16
      udp4 = "((udp dst port 4789 or udp dst port 8472) and udp[8:1] & 8 = 8 and udp[28:2] = " kind \
        " and " placed(terms[version, from], "udp", 30 + start) " and " placed(terms[version, to], "udp", 30 + start + size) ")"
      udp6 = "(ip6[6] = 17 and (ip6[42:2] = 4789 or ip6[42:2] = 8472) and ip6[48:1] & 8 = 8 and ip6[68:2] = " kind \
        " and " placed(terms[version, from], "ip6", 70 + start) " and " placed(terms[version, to], "ip6", 70 + start + size) ")"
      return udp4 " or " udp6
    }
    function flow(version, from, to,  src, dst) {
      src = nets[version, from]; dst = nets[version, to]
      gsub(/WAY/, "src", src); gsub(/WAY/, "dst", dst)
      return "((" src ") and (" dst ")) or " inside(version, from, to)
    }
    { read($2); nets[version, $1] = or(nets[version, $1], "WAY net " prefix)
      terms[version, $1] = or(terms[version, $1], "(" inner ")") }
    END {
      if (failed) exit 1
      for (version = 4; version <= 6; version += 2) if (nets[version, "l"] != "" && nets[version, "r"] != "") {
        out = or(out, flow(version, "l", "r"))
        if (both) out = or(out, flow(version, "r", "l"))
      }
      if (out == "") bad("no address family has both a local and a remote prefix")
      print out
    }'
}

esp='(esp or (udp port 4500 and udp[8:4] != 0))'
# shellcheck disable=SC2086 # one prefix a word
clear=$({ printf 'l %s\n' $locals; printf 'r %s\n' $remotes; } | make_filter "${file:+1}" 2>&1) || bad_usage "$clear"
clear="($clear) and not $esp"

# --- capture ------------------------------------------------------------------------------------------------------

umask 077
dir=${TMPDIR:-/tmp}/check-encryption.$$
mkdir "$dir" || unable "cannot make the folder $dir"
pids='' resting='' starting=''
# finish: background jobs of a script ignore SIGINT, and one that is just starting, whose number nobody has noted yet, loses
# other signals, too: all but SIGKILL.
# shellcheck disable=SC2329 # called by the trap
finish() {
  [ -z "$starting" ] || resting="$resting $!"
  # shellcheck disable=SC2086 # one process a word
  [ -z "$pids$resting" ] || kill -KILL $pids $resting 2>/dev/null
  rm -rf "$dir"
}
trap finish EXIT
trap 'exit 69' HUP INT TERM

# start NAME DIRECTION COUNT FILTER: keep matching packets in NAME.pcap. -O: the optimizer of libpcap 1.10.3 turns
# "udp[42:4] & 0xffffffff = 0" into something that never matches, and a filter that misses a leak is worse than a slow one.
start() {
  : >"$dir/$1.err"
  starting=yes
  tcpdump -O -i "$iface" -n -p -U -s "$SNAP" -Q "$2" -c "$3" -w - "$4" >"$dir/$1.pcap" 2>"$dir/$1.err" &
  pids="$pids $!" starting=''
}

# pause SECONDS: a sleep that a signal ends at once.
pause() {
  starting=yes
  sleep "$1" &
  resting=$! starting=''
  wait "$resting"
  resting=''
}

# listening NAME: wait until that tcpdump sees packets; says why not.
listening() {
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    case $(awk '/listening on/ { print "yes"; exit }
      /^tcpdump: / && !/verbose output|[Ww][Aa][Rr][Nn]/ { print "no"; exit }' "$dir/$1.err") in
    yes) return 0 ;;
    no) break ;;
    esac
    pause 1
  done
  unable "$(grep -v '^dropped privs' "$dir/$1.err" | head -n 3)"
}

live() {
  echo "interface $iface, $seconds s; pods here: $shown_locals; pods elsewhere: $shown_remotes"
  [ -z "$why" ] || echo "Interface $iface because $why."
  echo "Cleartext is judged on what leaves $iface alone: a packet that was decrypted here shows up again on its way in."
  start clear out "$CLEAR_MOST" "$clear"
  start esp-out out "$ESP_MOST" "$esp"
  start esp-in in "$ESP_MOST" "$esp"
  listening clear
  listening esp-out
  listening esp-in
  pause "$seconds"
  # shellcheck disable=SC2086 # one process a word
  kill -TERM $pids 2>/dev/null
  wait
  pids=''
  gone=$(cat "$dir/clear.err" "$dir/esp-out.err" "$dir/esp-in.err" | grep '^tcpdump: pcap_loop')
  [ -z "$gone" ] || unable "$gone"
  lost=$(sed -n 's/ packets\{0,1\} dropped by kernel//p' "$dir/clear.err")
  case $lost in '' | 0) ;; *) echo "note: tcpdump could not keep up, $lost packets were not judged" ;; esac
}

from_file() {
  [ -r "$file" ] || bad_usage "cannot read $file"
  echo "capture $file, both ways; pods here: $shown_locals; pods elsewhere: $shown_remotes"
  tcpdump -O -n -r - -w - "$clear" <"$file" >"$dir/clear.pcap" 2>"$dir/clear.err" || unable "$(tail -n 1 "$dir/clear.err")"
  tcpdump -O -n -r - -w - "$esp" <"$file" >"$dir/esp-seen.pcap" 2>"$dir/esp.err" || unable "$(tail -n 1 "$dir/esp.err")"
}

if [ -n "$file" ]; then from_file; else live; fi

# --- report -------------------------------------------------------------------------------------------------------

text() { tcpdump -n -t -r - <"$1" 2>/dev/null; }

# "COUNT WAY SRC > DST SPI" for each SA
esp_list=$(for way in out in seen; do
  [ ! -s "$dir/esp-$way.pcap" ] || text "$dir/esp-$way.pcap" | awk -v way="$way" '
    match($0, /spi=0x[0-9a-f]+/) {
      spi = substr($0, RSTART + 4, RLENGTH - 4); sub(/:$/, "", $4)
      count[way "  " $2 " > " $4 "  spi " spi]++
    }
    END { for (sa in count) print count[sa], sa }'
done | sort -k2)

# "COUNT FLOW" for each cleartext flow
clear_list=$(text "$dir/clear.pcap" | awk '
  function split_port(text, at,  part, n) {
    sub(/:$/, "", text)
    n = split(text, part, ".")
    if (text ~ /:/) { port[at] = part[2]; address[at] = part[1]; return }
    port[at] = part[5]; address[at] = part[1] "." part[2] "." part[3] "." part[4]
  }
  function named(at) {
    if (port[at] == "") return address[at]
    return address[at] ~ /:/ ? "[" address[at] "]:" port[at] : address[at] ":" port[at]
  }
  /: (VXLAN|OTV),/ { tunnel = "  (inside VXLAN)"; next }
  /^IP6? / {
    split_port($2, 1); split_port($4, 2)
    kind = port[2] != "" ? "UDP" : "IP"
    if ($5 == "Flags") kind = "TCP"; else if ($5 ~ /^sctp/) kind = "SCTP"
    else if ($5 ~ /^ICMP6/) kind = "ICMPv6"; else if ($5 ~ /^ICMP/) kind = "ICMP"
    count[kind " " named(1) " > " named(2) tunnel]++
    tunnel = ""
  }
  END { for (flow in count) print count[flow], flow }' | sort -rn)

total() { echo "$1" | awk '{ sum += $1 } END { print sum + 0 }'; }
esp_seen=$(total "$esp_list")
clear_seen=$(total "$clear_list")

echo "ESP packets by SPI:"
if [ "$esp_seen" -gt 0 ]; then
  echo "$esp_list" | awk -v most="$ESP_MOST" '{
    n = $1; sub(/^[0-9]+ /, "")
    printf "  %s  %s%d packet%s\n", $0, (n >= most ? "at least " : ""), n, (n == 1 ? "" : "s") }'
else
  echo "  none"
fi
echo "cleartext packets between pods:"
if [ "$clear_seen" -gt 0 ]; then
  echo "$clear_list" | awk '
    { n = $1; sub(/^[0-9]+ /, ""); if (NR <= 20) printf "  %s  %d packet%s\n", $0, n, (n == 1 ? "" : "s") }
    END { if (NR > 20) print "  and", NR - 20, "more flows" }'
  [ "$clear_seen" -lt "$CLEAR_MOST" ] || echo "  (stopped after $CLEAR_MOST packets)"
  echo "CLEARTEXT: $clear_seen packets without ESP between pods of different nodes"
  exit 1
fi
echo "  none"
if [ "$esp_seen" -gt 0 ]; then
  echo "ENCRYPTED: $esp_seen ESP packets, and no cleartext between these prefixes"
  exit 0
fi
echo "NOTHING SEEN, which proves nothing: send traffic between pods of different nodes meanwhile"
exit 2
