# Shared by the scripts here: where the cache is, how progress is told. Sourced, never run. A script that needs no root says
# ROOTLESS=yes before; every other one ends here, before anything is made, with exit status 77 for whoever is not root.
set -euo pipefail
shopt -s inherit_errexit # in $(...) too, a command that fails ends what follows
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/wirecrypt

BOLD='' PLAIN=''
[ ! -t 2 ] || { BOLD=$'\e[1m' PLAIN=$'\e[0m'; }
say() { printf '%s==>%s %s\n' "$BOLD" "$PLAIN" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
if [ "${ROOTLESS:-}" != yes ] && [ "$(id -u)" != 0 ]; then
  printf 'error: scripts/%s needs root, and this is user %s. Next: run it as root; lint and unit tests, scripts/check, need none\n' \
    "$(basename "$0")" "$(id -u)" >&2
  exit 77
fi
mkdir -p "$CACHE"

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

# quietly WHAT COMMAND...: run COMMAND with its output in a log. Signs of life while it runs, with what it said last by `say`; then
# one line with the time that it took. When it fails, the end of the log is shown, and the log is kept.
SIGNS=5 # seconds between two signs of life where there is no terminal
quietly() {
  local what=$1 began=$SECONDS status=0; shift
  mkdir -p "$CACHE/logs"
  quiet_log=$(mktemp "$CACHE/logs/$(basename "$1").XXXXXX")
  signs_of_life "$quiet_log" $$ & quiet_signs=$!
  trap 'kill "$quiet_signs" 2>/dev/null || true; rm -f "$quiet_log"' EXIT
  "$@" >"$quiet_log" 2>&1 || status=$?
  kill "$quiet_signs" 2>/dev/null || true
  wait "$quiet_signs" 2>/dev/null || true
  [ ! -t 2 ] || printf '\r\e[K' >&2
  trap - EXIT
  if [ "$status" -gt 0 ]; then
    tail -20 "$quiet_log" >&2
    die "$what failed after $((SECONDS - began)) s, see above; all that was said is in $quiet_log"
  fi
  rm -f "$quiet_log"
  say "$what: done, $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s"
}

# signs_of_life LOG PROCESS: say every few seconds how long it takes and what was said last, as long as PROCESS lives.
signs_of_life() {
  local began=$SECONDS next=$((SECONDS + SIGNS)) last text
  while sleep 1 && kill -0 "$2" 2>/dev/null; do
    last=$(sed -n 's/^==> //p' "$1" | tail -1)
    text="    … $((SECONDS - began)) s: ${last:-beginning}"
    if [ -t 2 ]; then
      printf '\r\e[K%s' "${text:0:$(($(tput cols 2>/dev/null || echo 80) - 1))}" >&2
    elif [ "$SECONDS" -ge "$next" ]; then
      next=$((SECONDS + SIGNS))
      printf '%s\n' "${text:0:80}" >&2
    fi
  done
}

# virtual_environment TARGET PYTHON [--system-site-packages]: make TARGET run this checkout, with what requirements.lock names; that is
# installed once for all checkouts, into the cache.
virtual_environment() {
  local target=$1 python=$2 key shared program; shift 2
  key=$({ cat "$ROOT/requirements.lock"; "$python" --version; echo "$@"; } | sha256sum | cut -c1-12)
  shared=$CACHE/venv-$key
  once "venv-$key" install_locked "$shared" "$python" "$@"
  [ "$(readlink "$target/shared")" = "$shared" ] && [ "$target/bin/wirecrypt" -nt "$ROOT/pyproject.toml" ] && return 0
  say "making $target"
  rm -rf "$target"
  "$python" -m venv "$@" --without-pip "$target"
  ln -s "$shared" "$target/shared"
  printf '%s\n' "$shared"/lib/python3*/site-packages "$ROOT" >"$(echo "$target"/lib/python3*/site-packages)/wirecrypt.pth"
  for program in "$shared"/bin/*; do
    [ -e "$target/bin/${program##*/}" ] || ln -s "$program" "$target/bin/"
  done
  "$target/bin/python3" "$ROOT/scripts/entry_points.py"
}

install_locked() {
  local target=$1 python=$2; shift 2
  say "installing the Python packages of requirements.lock (once)"
  rm -rf "$target"
  "$python" -m venv "$@" "$target"
  "$target/bin/pip" install -q --require-hashes --no-deps -r "$ROOT/requirements.lock"
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
