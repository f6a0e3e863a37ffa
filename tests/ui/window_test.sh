#!/usr/bin/env bash
# window_test.sh statescope-app: starts the app on a virtual display, drags the slider, switches the view, saves a
# screenshot, changes the theme and quits; then reads from the settings file what arrived.
set -euo pipefail
app=$(realpath "$1")
for program in Xvfb xdotool; do
  if ! command -v "$program" >/dev/null; then
    echo "window_test: $program is missing; scripts/setup installs it" >&2
    exit 1
  fi
done
work=$(mktemp -d)
app_pid='' display_pid=''
finish() {
  if [ -n "$app_pid" ]; then kill "$app_pid" 2>/dev/null || true; fi
  if [ -n "$display_pid" ]; then kill "$display_pid" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap finish EXIT
fail() {
  echo "window_test: $1" >&2
  cat "$work/app.log" >&2
  exit 1
}
setting() { sed -n "s/.*\"$1\": \"\(.*\)\".*/\1/p" "$work/statescope/app.json"; }
# Waits up to 30 s for a command to succeed.
until_true() {
  for _ in $(seq 150); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.2
  done
  return 1
}

cd "$work"
Xvfb -displayfd 3 -screen 0 1400x900x24 3>display >/dev/null 2>&1 &
display_pid=$!
until_true test -s display || fail "no virtual display"
DISPLAY=:$(cat display)
export DISPLAY XDG_CONFIG_HOME=$work

"$app" --set measure=off --set key-dim=32 --set value-dim=32 >app.log 2>&1 &
app_pid=$!
until_true xdotool search --name '^Statescope$' || fail "no window"
window=$(xdotool search --name '^Statescope$' | head -1)
xdotool windowmove "$window" 0 0 windowfocus "$window"
sleep 2

# The slider at E = 8 lies at (892, 65) of a 1280 x 720 window, E = 1 at its left end.
xdotool mousemove 892 65 mousedown 1
for x in 860 800 720 640 560 480 400 359; do
  xdotool mousemove "$x" 65
  sleep 0.1
done
sleep 0.5
xdotool mouseup 1
sleep 0.5
xdotool key Right key Right
sleep 0.5
xdotool key F12
until_true compgen -G 'statescope-screen-*.png' || fail "F12 saved no screenshot"
xdotool key ctrl+4 key ctrl+d
sleep 1
kill -0 "$app_pid" || fail "the app is gone"
xdotool key ctrl+1 key ctrl+q
until_true test -f statescope/app.json || fail "Ctrl Q saved no settings"
status=0
wait "$app_pid" || status=$?
app_pid=''
[ "$status" -eq 0 ] || fail "exit status $status"
[ "$(setting expansion)" = 3 ] || fail "expansion: found $(setting expansion), wanted 3"
[ "$(setting theme)" = light ] || fail "theme: found $(setting theme), wanted light"
[ "$(setting view)" = explore ] || fail "view: found $(setting view), wanted explore"
if [ -s app.log ]; then fail "the app said something"; fi

# Without a display: one clear line and its exit code.
status=0
line=$(env -u DISPLAY -u WAYLAND_DISPLAY "$app" 2>&1) || status=$?
[ "$status" -eq 3 ] || fail "without a display: found exit status $status, wanted 3"
case "$line" in *"no display"*) ;; *) fail "without a display it said: $line" ;; esac
echo "window_test: ok"
