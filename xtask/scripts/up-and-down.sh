# Brings a topology up, and once more, and takes it down, on a host of its own whose firewall forwards
# nothing. Nothing may be left: no link, namespace, mount, rule, control group or file.
# usage: up-and-down.sh FILE
set -eu

file=$1
pod=$POD_SHIM
engine=$POD_LOCAL_ROOT
groups=pod-$(printf %s "$engine" | sha256sum | cut -c1-6)

fail() {
    echo "FAILED: $*"
    exit 1
}

groups() {
    find /sys/fs/cgroup -maxdepth 2 -name "$groups"
}

look() {
    ip -o link
    ip netns list
    # without the counters
    iptables-save | sed -e '/^#/d' -e 's/\[[0-9:]*\]//'
    cut -d' ' -f3- /proc/self/mountinfo
    groups
    find "$engine" -mindepth 1 2>/dev/null || true
}

iptables -P FORWARD DROP
if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then
    echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
else
    echo "note: this kernel has no bridge-nf-call-iptables; only the policy of FORWARD is DROP"
fi
before=$(look)

workloads=$("$pod" plan "$file" -o json | grep -c '"thing": "workload"')
trap '"$pod" down "$file" >/dev/null 2>&1 || true' EXIT
"$pod" up "$file"
running=$("$pod" ps -o json | grep -c '"state": "running"')
[ "$running" = "$workloads" ] || fail "$running of $workloads workloads run"
[ -n "$(groups)" ] || fail "the workloads have no control group $groups"
[ -z "$("$pod" plan "$file" -o name)" ] || fail "there is something to plan after up"
"$pod" up "$file"
"$pod" down "$file"
trap - EXIT

after=$(look)
if [ "$before" != "$after" ]; then
    echo "--- before"
    echo "$before"
    echo "--- after"
    echo "$after"
    fail "something was left"
fi
