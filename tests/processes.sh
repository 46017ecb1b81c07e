# Sourced by scripts that start processes: each adds its own to `pids`.
# shellcheck shell=bash

pids=()
# Ends what was started here, the latest first, and waits for it.
end_processes() {
  local i
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill -TERM "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
  pids=()
}
