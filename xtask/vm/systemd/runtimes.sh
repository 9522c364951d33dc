# What only a real systemd runs: machines of systemd-nspawn, and a user's own (rootless) Podman. Read by check.sh.
user=sailor
image=localhost/box

# own COMMAND...: as the user, in his session.
own() {
    runtime=/run/user/$(id -u "$user")
    (cd / && runuser -u "$user" -- env "XDG_RUNTIME_DIR=$runtime" \
        "DBUS_SESSION_BUS_ADDRESS=unix:path=$runtime/bus" "$@")
}

own_podman() { own podman "$@"; }

# A root with busybox alone in it.
root() { # DIRECTORY
    mkdir -p "$1/usr/bin" "$1/bin" "$1/etc" "$1/tmp" "$1/proc" "$1/sys" "$1/dev" "$1/run" "$1/var"
    cp /usr/bin/busybox "$1/bin/busybox"
    echo served >"$1/page"
}

# mapped FROM TO SERVICE: there is such an edge.
mapped() { cofferdam map | grep -F "$3" | grep -E "^$1 .* $2 "; }

reached() { # PORT: from a unit of its own
    systemd-run --quiet --wait --collect --unit=visitor busybox wget -q -O /dev/null "http://127.0.0.1:$1/page"
}

# Both ways that a machine is started: by its unit, and by hand.
machines_are_named() {
    root /var/lib/machines/barge
    root /var/lib/machines/crate
    mkdir -p /etc/systemd/nspawn
    cat >/etc/systemd/nspawn/barge.nspawn <<'END'
[Exec]
Boot=no
PrivateUsers=no
Parameters=/bin/busybox httpd -f -p 127.0.0.1:8091 -h /
[Network]
Private=no
VirtualEthernet=no
END
    machinectl start barge || return 1
    systemd-nspawn --quiet --machine=crate --directory=/var/lib/machines/crate --link-journal=no \
        /bin/busybox httpd -f -p 127.0.0.1:8092 -h / >/dev/null 2>&1 </dev/null &
    eventually 60 reached 8091 && eventually 60 reached 8092 || return 1
    eventually 30 mapped visitor.service barge tcp/8091 &&
        eventually 30 mapped visitor.service crate tcp/8092 || { cofferdam map; return 1; }
    machinectl list
    machinectl terminate barge && machinectl terminate crate
}

has_session() { own systemctl --user is-system-running | grep -E 'running|degraded'; }

# Without its API: from what is on disk, below a home that the unit may only read.
own_containers_are_named() {
    useradd --create-home --shell /bin/sh "$user" || return 1
    loginctl enable-linger "$user" && eventually 60 has_session || return 1
    home=/home/$user
    mkdir -p "$home/.config/containers"
    # Nobody can turn the root of an initramfs (pivot_root(2)).
    printf '[engine]\nno_pivot_root = true\n' >"$home/.config/containers/containers.conf"
    printf '[storage]\ndriver = "vfs"\n' >"$home/.config/containers/storage.conf"
    chown -R "$user:$user" "$home"
    root /tmp/box
    tar -C /tmp/box -c . | own_podman import - "$image" || return 1
    served web 8093 || return 1
    visits probe 8093 || return 1
    eventually 30 mapped "user-$(id -u "$user")/probe" "user-$(id -u "$user")/web" tcp/8093 ||
        { cofferdam map; cofferdam ps --all; return 1; }
}

served() { # NAME PORT ARGUMENTS...: a container that serves
    name=$1
    port=$2
    shift 2
    own_podman run --detach --name "$name" --network host "$@" "$image" \
        /bin/busybox httpd -f -p "127.0.0.1:$port" -h / || return 1
    eventually 30 reached "$port" || { own_podman ps --all; own_podman logs "$name"; return 1; }
}

visits() { # NAME PORT ARGUMENTS...: a container that asks once
    name=$1
    port=$2
    shift 2
    own_podman run --rm --name "$name" --network host "$@" "$image" \
        /bin/busybox wget -q -O /dev/null "http://127.0.0.1:$port/page"
}

# With its API, which he lets the unit have: labels, and rules by them.
own_containers_have_their_labels() {
    own systemctl --user start podman.socket || return 1
    eventually 30 kept_out || { cofferdam doctor; return 1; }
    mkdir -p /etc/systemd/user/podman.socket.d
    cp /usr/share/cofferdam/podman.socket.conf /etc/systemd/user/podman.socket.d/cofferdam.conf
    own systemctl --user daemon-reload && own systemctl --user restart podman.socket || return 1
    eventually 60 let_in || { cofferdam doctor; return 1; }
    cp /etc/cofferdam/config.yaml /tmp/shipped.yaml
    # An emulated machine takes its time to tell labels.
    echo 'policies: {unresolved_seconds: 120}' >/etc/cofferdam/config.yaml
    systemctl reload cofferdam && served hold 8094 --label tier=store || return 1
    eventually 30 labelled || { cofferdam ps --json; return 1; }
    mkdir -p /etc/cofferdam/policies
    cat >/etc/cofferdam/policies/ship.yaml <<'END'
policy: ship
mode: enforce
rules:
  - name: fore
    from: {name: "user-*", labels: {tier: front}}
    deny: [{to: {name: "user-*", labels: {tier: store}}}]
  # Whoever a user runs says of himself what he likes: this means the system's.
  - {from: {labels: {tier: back}}, deny: [{to: any}]}
END
    eventually 30 told enforcing || { cofferdam status; return 1; }
    visits back 8094 --label tier=back || return 1
    number=$(id -u "$user")
    visits front 8094 --label tier=front
    # As `wget` says that it cannot connect; Podman's own troubles have other numbers.
    [ $? = 1 ] || { echo "it got through, or was not tried"; return 1; }
    eventually 30 denied || { cofferdam why "user-$number/front" "user-$number/hold"; return 1; }
    rm /etc/cofferdam/policies/ship.yaml
    cp /tmp/shipped.yaml /etc/cofferdam/config.yaml
    systemctl reload cofferdam && eventually 30 told observing && own_podman rm --all --force --time 0
}

kept_out() { cofferdam doctor | grep 'the user keeps us out'; }

# Only of a runtime that is heard it is said which version it is.
let_in() { cofferdam doctor | grep " at /run/user/$(id -u "$user")/podman/podman.sock"; }

labelled() { cofferdam ps --json | grep -E '"tier": ?"store"'; }

denied() {
    cofferdam why "user-$number/front" "user-$number/hold" >/tmp/why
    grep 'DENIED.*denied, the last' /tmp/why && grep 'ship#fore' /tmp/why
}
