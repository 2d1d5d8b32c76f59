#!/bin/sh
# Plays QEMU and the guest in it. A test adds what its guest does: it `begin`s, and then locks up or survives. $TEST is
# the test's folder; in it, `hang` has the beginning of the id of a trial that does not end.
[ "$1" = --version ] && { echo "QEMU emulator version 9.9"; exit 0; }
while [ $# -gt 0 ]; do
    case $1 in -kernel) kernel=$2 ;; -initrd) initrd=$2 ;; -name) name=${2%%,*} ;; esac
    shift
done
say() { echo "$1" >> agent.jsonl; }
# beat NUMBER UPTIME_MS PACKETS MEETINGS
beat() {
    say "{\"type\":\"heartbeat\",\"seq\":$1,\"uptime_ms\":$2,\"counters\":{\"packets\":$3,\"node_busy_percent\":[],\"swaps\":$3,\"amplifier\":{\"kv_met\":$4}}}"
}
boot() {
    : > console.log
    say '{"type":"hello","protocol":1,"release":"6.99","version":"x","uptime_ms":9,"nodes":[],"cmdline":""}'
}
load() {
    say '{"type":"armed","detectors":[],"tracing":true}'
    say '{"type":"load-started","uptime_ms":1000,"processes":1,"hugepages":false}'
    beat 0 1000 0 0
    [ -s "$TEST/hang" ] && case "$PWD" in *"/$(cat "$TEST/hang")"*) exec sleep 1000 ;; esac
}
begin() { boot; load; }
# Prints what a real kernel did, after twelve seconds of load, and says no more.
lock_up() {
    cat "$TEST/lockup.log" > console.log
    beat 1 13000 900 1
    exec sleep 1000
}
# survive SECONDS MEETINGS
survive() {
    beat 1 $(($1 * 1000 + 1000)) $(($1 * 15)) "$2"
    say "{\"type\":\"end\",\"uptime_ms\":$(($1 * 1000 + 1001))}"
}
