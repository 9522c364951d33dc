#!/bin/sh
# Checks cofferdam.service from outside, as an operator would, and reports in libtest's form.
# check.service powers off afterwards, whatever happens here.
exec >/dev/console 2>&1
passed=0
failed=0

check() { # NAME COMMAND...
    name=$1
    shift
    if out=$("$@" 2>&1); then
        echo "test $name ... ok"
        passed=$((passed + 1))
    else
        echo "test $name ... FAILED"
        echo "$out"
        systemctl status --no-pager --full cofferdam
        journalctl --no-pager --unit=cofferdam --lines=40
        failed=$((failed + 1))
    fi
}

property() { systemctl show --property="$1" --value cofferdam; }

main_pid() { property MainPID; }

# signal NAME: to the daemon. Not to process 0, which would be this script.
signal() { [ "$(main_pid)" != 0 ] && kill "-$1" "$(main_pid)"; }

# eventually SECONDS COMMAND...
eventually() {
    left=$1
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 1
    done
}

links() { bpftool link list | grep -c '^[0-9]'; }

restarted() { # OLD_PID
    [ "$(main_pid)" != "$1" ] && [ "$(main_pid)" != 0 ] && systemctl --quiet is-active cofferdam
}

ready() {
    echo "state: $(property ActiveState), type: $(property Type), text: $(property StatusText)"
    [ "$(property ActiveState)" = active ] && [ "$(property Type)" = notify ] && [ -n "$(property StatusText)" ]
}

attached() {
    echo "links: $(links)"
    [ "$(links)" -gt 0 ]
}

hardened() {
    cat "/proc/$(main_pid)/status" | grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):'
    grep ' / ' "/proc/$(main_pid)/mountinfo" | head -1
    status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(main_pid)/status"; }
    [ "$(status NoNewPrivs)" = 1 ] && [ "$(status Seccomp)" = 2 ] || return 1
    # Sockets of open connections are copied, to cut them: not among the calls of any service.
    property SystemCallFilter | tr ' ' '\n' | grep -qx pidfd_getfd || return 1
    # CAP_DAC_READ_SEARCH 2, CAP_NET_ADMIN 12, CAP_SYS_PTRACE 19, CAP_PERFMON 38, CAP_BPF 39
    [ "$(status CapBnd)" = 000000c000081004 ] && [ "$(status CapEff)" = 000000c000081004 ] || return 1
    # The daemon's own view of /usr is read-only.
    awk '$5 == "/" { options = $6 } END { exit options !~ /(^|,)ro(,|$)/ }' "/proc/$(main_pid)/mountinfo"
}

answers() { cofferdam status; }

survives_kill() {
    old=$(main_pid)
    signal KILL || return 1
    eventually 60 restarted "$old" && cofferdam status
}

survives_hang() {
    mkdir -p /run/systemd/system/cofferdam.service.d
    printf '[Service]\nWatchdogSec=15s\n' >/run/systemd/system/cofferdam.service.d/watchdog.conf
    systemctl daemon-reload
    systemctl restart cofferdam || return 1
    old=$(main_pid)
    # Beyond the watchdog's time: a daemon that works is left alone. Not shorter, because an emulated machine on a
    # busy host stands still for seconds.
    sleep 25
    [ "$(main_pid)" = "$old" ] || { echo "killed although it works"; return 1; }
    signal STOP || return 1
    eventually 90 restarted "$old" || return 1
    journalctl --unit=cofferdam | grep -i 'watchdog timeout' && cofferdam status
}

told() { cofferdam status | grep -F "$1"; }

untold() { ! told "$1"; }

reloads() {
    file=/etc/cofferdam/config.yaml
    old=$(main_pid)
    cp "$file" /tmp/shipped.yaml
    printf 'limits: {flows: 262144}\noutside: {lab: [198.51.100.0/24]}\n' >"$file"
    systemctl reload cofferdam || return 1
    eventually 30 told 'restart needed for: limits.flows' || return 1
    printf 'limits:\n  flows: many\n' >"$file"
    systemctl reload cofferdam || return 1
    eventually 30 told "configuration broken: $file:2:10: \`limits.flows\`" || return 1
    property StatusText | grep 'config file broken' || return 1
    cp /tmp/shipped.yaml "$file"
    systemctl reload cofferdam || return 1
    eventually 30 untold 'configuration broken' && untold 'restart needed' || return 1
    [ "$(main_pid)" = "$old" ] && [ "$(property ActiveState)" = active ]
}

# With the powers that the unit leaves: a namespace and a cgroup of their own.
canaries_try() {
    for module in /modules/*.ko; do
        # Some are there already.
        busybox insmod "$module" 2>/dev/null
    done
    mkdir -p /etc/cofferdam/policies
    printf 'policy: check\nmode: enforce\nrules: [{to: nobody.service}]\n' >/etc/cofferdam/policies/check.yaml
    # Links of containers are looked at with the powers that the unit leaves: the canaries have some.
    if ! eventually 120 told 'canaries right at' || ! eventually 60 told 'verified at' || told 'not enforced'; then
        cofferdam status
        return 1
    fi
    # This kernel runs BPF among its security modules, so that calls are tried as well.
    for name in sender receiver linkless; do
        ls -d /sys/fs/cgroup/system.slice/cofferdam.service/cofferdam-canary-*-$name || return 1
    done
    rm /etc/cofferdam/policies/check.yaml
    eventually 30 told observing && eventually 30 no_canaries
}

no_canaries() {
    ! ls -d /sys/fs/cgroup/system.slice/cofferdam.service/cofferdam-canary-* && ! ls -d /sys/class/net/cofferdam-*
}

# What the unit lets it write: the history, and a file of alerts. And the journal.
keeps_what_happened() {
    file=/etc/cofferdam/config.yaml
    cp "$file" /tmp/shipped.yaml
    cat >"$file" <<'END'
history: {flush_seconds: 1}
anomalies: {learn_hours: 0}
alerts: {journald: true, file: /var/log/cofferdam/alerts.json}
END
    systemctl restart cofferdam || return 1
    systemd-run --quiet --unit=hearer busybox httpd -f -p 127.0.0.1:8080 -h /etc || return 1
    eventually 30 systemd-run --quiet --wait --collect --unit=talker \
        busybox wget -q -O /dev/null http://127.0.0.1:8080/machine-id || return 1
    eventually 60 kept || return 1
    eventually 60 grep -H talker.service /var/log/cofferdam/alerts.json || return 1
    eventually 60 in_journal || return 1
    old=$(main_pid)
    signal KILL || return 1
    eventually 60 restarted "$old" && kept || return 1
    cofferdam alerts --all | grep talker.service || return 1
    cofferdam why talker.service hearer.service | grep '^ALERTS' || return 1
    systemctl stop hearer
    cp /tmp/shipped.yaml "$file"
    systemctl restart cofferdam
}

kept() {
    [ -s /var/lib/cofferdam/history.db ] && cofferdam map --since 1h | grep talker.service | grep hearer.service
}

in_journal() { journalctl --quiet --output=cat COFFERDAM_KIND=new_edge | grep talker.service; }

stops_cleanly() {
    eventually 60 systemctl --quiet is-active cofferdam || return 1
    running=$(links)
    systemctl stop cofferdam || return 1
    echo "result: $(property Result), links while running: $running, after: $(links)"
    find /sys/fs/bpf /run/cofferdam -mindepth 1
    [ "$(property Result)" = success ] && [ "$(property ActiveState)" = inactive ] || return 1
    [ "$running" -gt 0 ] && [ "$(links)" = 0 ] || return 1
    [ -z "$(find /sys/fs/bpf -mindepth 1)" ] && [ ! -e /run/cofferdam ]
}

starts_again() { systemctl start cofferdam && cofferdam status; }

. /usr/lib/check-runtimes.sh

echo "systemd: $(systemctl --version | head -1), kernel: $(uname -r)"
check the_unit_reports_ready_and_says_how_it_is ready
check hooks_are_attached attached
check status_answers answers
check hardening_is_in_effect hardened
check a_reload_reads_the_configuration_and_a_broken_one_changes_nothing reloads
check canaries_find_a_policy_enforced canaries_try
check machines_of_nspawn_are_named machines_are_named
check containers_of_a_users_own_podman_are_named own_containers_are_named
check containers_of_a_users_own_podman_have_their_labels own_containers_have_their_labels
check history_and_alerts_are_kept_also_after_kill_9 keeps_what_happened
check it_is_restarted_after_kill_9 survives_kill
check the_watchdog_restarts_a_daemon_that_hangs survives_hang
check a_clean_stop_leaves_nothing_in_the_kernel stops_cleanly
check it_starts_again starts_again

result=ok
[ "$failed" = 0 ] || result=FAILED
echo "test result: $result. $passed passed; $failed failed; 0 ignored; 0 measured; 0 filtered out"
echo "payload exit: $failed"
