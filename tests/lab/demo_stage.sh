# shellcheck shell=bash disable=SC2034
# What the demonstrations share, to be sourced: a folder for the run, the end of its processes, steps
# that are shown and checked.

kubelane=$1
lab=$2
once=
case ${3:-} in
  '') ;;
  --once) once=1 ;;
  *)
    echo "demo: unknown option $3" >&2
    exit 2
    ;;
esac

work=$(mktemp -d "${TMPDIR:-/tmp}/kubelane-demo.XXXXXX")
# shellcheck source=tests/processes.sh
source "$(dirname "${BASH_SOURCE[0]}")/../processes.sh"
cleanup() {
  end_processes
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
tell() { printf '    %s\n' "$@"; }
give_up() {
  printf '\ndemo: %s\n' "$1" >&2
  sed 's/^/    lab: /' "$work/lab.log" >&2 2>/dev/null || true
  sed 's/^/    kubelane: /' "$work/kubelane.log" >&2 2>/dev/null || true
  exit 1
}

# wait_for SECONDS PID WHAT COMMAND...: until the command succeeds, while the process lives
wait_for() {
  local deadline=$((SECONDS + $1)) pid=$2 what=$3
  shift 3
  until "$@" >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || give_up "$what ended early"
    [ "$SECONDS" -lt "$deadline" ] || give_up "gave up waiting for $what"
    sleep 0.05
  done
}

kc=(kubectl)  # scenes add their options
failed=0
# step WHAT EXPECTED ARGUMENT...: shows the kubectl command and its output, which must hold EXPECTED
step() {
  local what=$1 expected=$2 output status=0
  shift 2
  bold "$what"
  printf '    $ kubectl %s\n' "$*"
  output=$(timeout 60 "${kc[@]}" "$@" 2>&1) || status=$?
  printf '%s\n' "$output" | head -n 15 | sed 's/^/    /'
  if [ "$status" != 0 ] || ! grep -qF -- "$expected" <<<"$output"; then
    echo "    FAILED: exit status $status, wanted to see \"$expected\""
    failed=$((failed + 1))
  fi
}

# close: what it came to; with $once set, the end
close() {
  if [ "$failed" = 0 ]; then
    bold "Every step worked."
  else
    bold "$failed steps failed."
  fi
  [ -n "${once:-}" ] || return 0
  [ "$failed" = 0 ] || give_up "not every step worked"
  exit 0
}
