#!/usr/bin/env bash
# arguments_test.sh statescope-app: what it cannot open or write is one line on stderr and the exit code that
# docs/app.md gives, with nothing drawn; and --set takes one value.
set -euo pipefail
app=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() {
  echo "arguments_test: $1" >&2
  exit 1
}
# wants CODE WORD arguments...
wants() {
  local code=$1 word=$2 status=0 line
  shift 2
  line=$("$app" --offscreen --set measure=off "$@" 2>&1) || status=$?
  [ "$status" -eq "$code" ] || fail "$*: found exit status $status, wanted $code: $line"
  [ "$(printf '%s\n' "$line" | wc -l)" -eq 1 ] || fail "$*: wanted one line, found: $line"
  case "$line" in *"$word"*) ;; *) fail "$*: no '$word' in: $line" ;; esac
}
echo '{"schema": "statescope.capture' >cut.json
echo '{}' >other.json
mkdir folder
for capture in missing.json cut.json other.json folder; do
  wants 2 "$capture" "$capture" --screenshot out.png
  wants 2 "$capture" --view explore --set "baseline=$capture"
  wants 2 "$capture" --set "recordings=$capture"
done
# The word after --set's value is the capture.
wants 2 missing.json --set theme=light missing.json
wants 2 "found 'b'" --set b
wants 4 other.json --export other.json
wants 4 other.json/below --export other.json/below
wants 2 folder --screenshot folder
wants 4 nowhere --screenshot nowhere/out.png
[ ! -e out.png ] || fail "a picture of nothing"
echo "arguments_test: ok"
