# Sourced by scripts that check one thing after another: each is a line, and is counted. They set
# `work`, a folder for what a check prints, and end with the line "$passed passed, $failed failed".
# shellcheck shell=bash disable=SC2154

passed=0 failed=0
# check WHAT COMMAND...
check() {
  local what=$1
  shift
  if "$@" >"$work/check.log" 2>&1; then
    echo "ok    $what"
    passed=$((passed + 1))
  else
    echo "FAIL  $what"
    sed 's/^/      /' "$work/check.log"
    failed=$((failed + 1))
  fi
}

# wait_until SECONDS COMMAND...
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}
is() { [ "$1" = "$2" ] || { echo "is \"$1\", wanted \"$2\"" && false; }; }
not() { ! "$@"; }
