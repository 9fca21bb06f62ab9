#!/usr/bin/env bash
# Four machines on this one: a network namespace for each node, and a switch that joins them. Needs root.
#
#     scripts/netns.sh up                     make them
#     scripts/netns.sh exec bs COMMAND...     run a command on one: device, channel, bs or controller
#     scripts/netns.sh cut device             pull its cable out, as both ends notice
#     scripts/netns.sh mute device            lose every packet to and from it, as nobody notices
#     scripts/netns.sh mend device            undo either
#     scripts/netns.sh down                   remove all of it
#
# A network namespace has interfaces, addresses, routes and ports of its own: a process in one sees nothing of the
# others, nor of the host, but through a cable. Files are shared, so give each node a folder of its own.
# Nothing of the host's own network is changed. NETNS_PREFIX names another set beside the first.
set -Eeuo pipefail

prefix=${NETNS_PREFIX:-draftwire}
nodes=(device channel bs controller) # 10.77.0.1 to 10.77.0.4, in this order
hub=$prefix-hub

main() {
    local verb=${1:-}
    shift || true
    case $verb in
        up) up ;;
        down) down ;;
        exec) known "${1:-}" && inside "$@" ;;
        cut | mute | mend) known "${1:-}" && "$verb" "$1" ;;
        *)
            sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
            exit 2
            ;;
    esac
}

up() {
    local name
    for name in "${nodes[@]/#/$prefix-}" "$hub"; do
        if [ -e "/run/netns/$name" ]; then
            echo "there is a namespace $name already; \`$0 down\` removes what is left of an earlier network" >&2
            exit 1
        fi
    done
    # The switch is a bridge in a namespace of its own, so that the host gets no new interface. Whoever has made
    # it may remove it, and nobody else.
    ip netns add "$hub"
    trap 'down' ERR # half a network is none
    ip -n "$hub" link add bridge type bridge
    ip -n "$hub" link set bridge up
    local i
    for i in "${!nodes[@]}"; do
        join "${nodes[i]}" "10.77.0.$((i + 1))"
    done
    trap - ERR
}

join() { # NODE ADDRESS
    local there=$prefix-$1
    ip netns add "$there"
    ip -n "$there" link set lo up # a new namespace has a loopback of its own, and it is down
    # A veth is a cable with two ends: one is the node's eth0, the other, named after the node, a port of the bridge.
    ip -n "$hub" link add "$1" type veth peer name eth0 netns "$there"
    ip -n "$hub" link set "$1" master bridge up
    ip -n "$there" address add "$2/24" dev eth0
    ip -n "$there" link set eth0 up
}

inside() { # NODE COMMAND...
    local there=$prefix-$1
    shift
    exec ip netns exec "$there" "$@" # the process keeps this one's number: a signal reaches the command
}

cut() {
    ip -n "$hub" link set "$1" down # the other end loses its carrier
}

mute() {
    ip -n "$hub" link set "$1" nomaster # both ends stay up, and the port leads nowhere
}

mend() {
    ip -n "$hub" link set "$1" master bridge up
}

down() {
    local name
    for name in "${nodes[@]/#/$prefix-}" "$hub"; do
        if [ -e "/run/netns/$name" ]; then # it lives on, without a name, until the last process in it has ended
            ip netns delete "$name"        # its interfaces go with it, and with a cable's end the whole cable
        fi
    done
}

known() { # NODE
    local node
    for node in "${nodes[@]}"; do
        if [ "$1" = "$node" ]; then
            return
        fi
    done
    echo "no node '$1'; there are ${nodes[*]}" >&2
    exit 2
}

main "$@"
