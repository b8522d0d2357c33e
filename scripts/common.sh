# Shared by the scripts here: where the cache is, how progress is told. Sourced, never run.
set -euo pipefail
shopt -s inherit_errexit # in $(...) too, a command that fails ends what follows
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/wirecrypt
mkdir -p "$CACHE"

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# once NAME COMMAND...: run COMMAND unless an earlier run of it succeeded; two runs at a time wait for one another. Never to be
# called before && or ||, or as a condition: COMMAND would go on after its failures, and count as done.
once() {
  local name=$1; shift
  mkdir -p "$CACHE/done"
  [ -e "$CACHE/done/$name" ] && return 0
  exec 9>"$CACHE/done/$name.lock"
  flock 9
  if [ ! -e "$CACHE/done/$name" ]; then
    "$@" 9>&-
    touch "$CACHE/done/$name"
  fi
  exec 9>&-
}

# packages NAME...: install the Debian packages that are missing.
packages() {
  local missing=() p
  for p in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  [ "$(id -u)" = 0 ] || die "these Debian packages are missing, and only root may install them: ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  [ -n "${WIRECRYPT_APT_FRESH:-}" ] || { apt-get update -qq; export WIRECRYPT_APT_FRESH=1; }
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$CACHE/apt.log" 2>&1 ||
    { tail -20 "$CACHE/apt.log" >&2; die "apt-get install failed, see above"; }
}

# debian_mirror: the address of the Debian archive that this machine uses.
debian_mirror() {
  local found
  found=$(apt-cache policy | sed -n '/security/d; s/.* \(https\?:[^ ]*\) [^ /]*\/main .*/\1/p' | awk 'NR == 1')
  [ -n "$found" ] || die "no Debian mirror is configured (apt-cache policy shows none)"
  echo "$found"
}

# debian_apt SUITE: set the array `apt` to options that look at another Debian suite, without touching the system's own
# package lists.
debian_apt() {
  local state=$CACHE/apt-$1 mirror
  mirror=$(debian_mirror)
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$1" >"$state/sources.list"
  apt=(-o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$state/lists"
    -o "Dir::Cache=$state/cache" -o APT::Sandbox::User=root -o APT::Default-Release=)
}

# debian_suite SUITE PACKAGE... : download packages of another Debian suite into the current folder.
debian_suite() {
  local suite=$1 apt; shift
  debian_apt "$suite"
  apt-get -qq "${apt[@]}" update
  apt-get -qq "${apt[@]}" download "$@"
}

# debian_versions SUITE PREFIX: every X.Y of that suite's packages that are called PREFIX-X.Y, oldest first.
debian_versions() {
  local apt
  debian_apt "$1"
  apt-get -qq "${apt[@]}" update &&
    apt-cache "${apt[@]}" pkgnames "$2-" | sed -n "s/^$2-\([0-9]*\.[0-9]*\)\$/\1/p" | sort -V
}
