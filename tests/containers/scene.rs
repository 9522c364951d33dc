//! One host with everything on it: two dozen workloads of all runtimes talk in all ways, and the map shows just that.

mod cast;
mod docker;
mod podman;
mod pods;
mod units;
mod world;

use std::{collections::BTreeMap, sync::Arc, thread};

use anyhow::{Context as _, Result};
use cofferdam::event::{Workload, WorkloadKind};
use cofferdam_tests::{
    Counts, Daemon, Node,
    edges::{Expected, check_of},
};

use self::cast::Cast;
use crate::alone;

/// Who does what, and which edge that is; `-` stands for none. What is done is `traffic connect` with these
/// arguments, else a program. `{name}` stands for an address of `name`, see the files of the cast.
const PLAY: &str = "
    # Within a network: IPv4, IPv6; TCP, UDP, pings; ends in order and by reset.
    probe   | {web}:80 --count 5 --send 100 --receive 3000              | probe -> web tcp/80
    probe   | [{web6}]:80 --count 2 --send 10 --receive 20              | probe -> web tcp/80
    probe   | ping -c 2 {web}                                           | probe -> web icmp
    web     | {api}:8000 --count 3                                      | web -> api tcp/8000
    web     | [{api6}]:8000 --count 4                                   | web -> api tcp/8000
    api     | [{db6}]:5432 --count 6 --send 50 --receive 100000         | api -> db tcp/5432
    api     | ping -6 -c 1 {db6}                                        | api -> db icmpv6
    api     | {cache}:6379 --count 4 --parallel 2 --reset               | api -> cache tcp/6379
    api     | {cache}:11211 --udp --count 10 --send 20 --receive 500    | api -> cache udp/11211
    api     | [{cache6}]:11211 --udp --count 3 --send 20 --receive 1000 | api -> cache udp/11211
    api     | {queue}:5672 --count 2                                    | api -> shop/queue tcp/5672

    # To itself: no edge, though two use the same addresses and ports. To whom it shares its network with: one.
    web     | 127.0.0.1:80 --count 2 --source-port 40000                | -
    api     | 127.0.0.1:8000,[::1]:8000 --count 2                       | -
    agent   | 127.0.0.1:9100                                            | -
    sidecar | 127.0.0.1:80,[::1]:80 --count 2                           | sidecar -> web tcp/80

    # From and to the host's network.
    agent   | {web}:80 --count 2                                        | agent -> web tcp/80
    probe   | {front}:9100 --count 3                                    | probe -> agent tcp/9100
    api     | {back}:8125 --udp --count 5                               | api -> agent udp/8125
    probe   | {front}:5000                                              | probe -> registry tcp/5000
    web     | {front}:7000                                              | web -> billing.service tcp/7000

    # Published ports: through Docker's proxy, and by address translation.
    host    | 127.0.0.1:8080 --count 4 --send 1000 --receive 2000       | {host} -> web tcp/80
    host    | {back}:8080 --count 3                                     | {host} -> web tcp/80
    probe   | {front}:8080 --count 2                                    | probe -> web tcp/80 via docker-proxy
    agent   | 127.0.0.1:8080 --count 5                                  | agent -> web tcp/80 via docker-proxy

    # Attempts that come to nothing: no such port, networks that Docker keeps apart, nobody there.
    api     | {cache}:6400 --count 2                                    | api -> cache tcp/6400
    probe   | {db}:5432 --timeout 1200                                  | probe -> db tcp/5432
    probe   | 198.19.255.1:443 --timeout 1200                           | probe -> outside 198.19.255.1 tcp/443
    probe   | 198.19.255.1:9999 --udp --send 30 --receive 0             | probe -> outside 198.19.255.1 udp/9999

    # Docker's DNS answers in the container's own namespace, from a socket of dockerd.
    probe   | nslookup web 127.0.0.11                                   | probe -> {host} udp/53

    # Podman and plain containerd, on the host's network.
    runner  | 127.0.0.1:5000 --count 3                                  | runner -> registry tcp/5000
    runner  | {web}:80                                                  | runner -> web tcp/80
    scraper | [::1]:9200 --count 2                                      | scraper -> exporter tcp/9200
    scraper | 127.0.0.1:9100                                            | scraper -> agent tcp/9100
    scraper | {nginx}:8080                                              | scraper -> shop/web-1/nginx tcp/8080

    # Pods: within one, from one to another, from and to the host's network.
    logger  | 127.0.0.1:8080 --count 3            | shop/web-1/logger -> shop/web-1/nginx tcp/8080
    nginx   | {postgres}:5432 --count 4           | shop/web-1/nginx -> shop/db-0/postgres tcp/5432
    nginx   | [{postgres6}]:5432 --count 2        | shop/web-1/nginx -> shop/db-0/postgres tcp/5432
    logger  | {postgres}:5432                     | shop/web-1/logger -> shop/db-0/postgres tcp/5432
    nginx   | ping -c 1 {postgres}                | shop/web-1/nginx -> shop/db-0 icmp
    proxy   | {nginx}:8080 --count 2              | kube-system/proxy-1/proxy -> shop/web-1/nginx tcp/8080
    nginx   | {pods}:10256 --udp                  | shop/web-1/nginx -> kube-system/proxy-1/proxy udp/10256
    postgres| {pods}:9100                         | shop/db-0/postgres -> agent tcp/9100
    host    | {nginx}:8080                        | {host} -> shop/web-1/nginx tcp/8080

    # What systemd runs, and a cgroup that is nobody's.
    billing | [::1]:5000 --count 2                | billing.service -> registry tcp/5000
    backup  | {db}:5432 --receive 20000           | backup.scope -> db tcp/5432
    batch   | 127.0.0.1:7000 --count 2            | batch.slice -> billing.service tcp/7000
    build   | 127.0.0.1:5000                      | build -> registry tcp/5000
    jobs    | {cache}:11211 --udp --count 2       | {jobs} -> cache udp/11211

    # Peers outside: with a stack of their own, and a machine that shares our kernel. No hook sees what the former
    # dialled before it was translated.
    probe   | 198.19.7.3:443 --count 2            | probe -> outside 198.19.7.3 tcp/443
    probe   | ping -c 1 198.19.7.3                | probe -> outside 198.19.7.3 icmp
    probe   | 198.19.7.3:81                       | probe -> outside 198.19.7.3 tcp/81
    nginx   | 198.19.7.3:443                      | shop/web-1/nginx -> outside 198.19.7.3 tcp/443
    billing | 198.19.7.3:514 --udp --count 2      | billing.service -> outside 198.19.7.3 udp/514
    peer    | 198.19.7.1:8080 --count 3           | outside 198.19.7.4 -> web tcp/80
    peer    | 198.19.7.1:8053 --udp               | outside 198.19.7.4 -> dns udp/53
    peer    | 198.19.7.1:9100                     | outside 198.19.7.4 -> agent tcp/9100
    machine | 198.19.7.1:8080 --count 3           | {host} -> web tcp/80 via nat:8080
";

#[test]
fn the_map_of_a_host_with_everything_on_it_shows_exactly_who_talked_to_whom() -> Result<()> {
    let _turn = alone()?;
    let node = Arc::new(Node::start()?);
    let cast = set(&node)?;
    let daemon =
        Daemon::on(&node, &["--docker-socket", &node.directory().join("docker.sock").display().to_string()])?;
    let expected = play(&cast)?;
    let map = check_of(&daemon, |workload| is_ours(&cast, workload), &expected)?;

    let mut seen = BTreeMap::new();
    for workload in map.iter().flat_map(|edge| [&edge.source, &edge.target]) {
        if let Some(member) = cast.member(workload) {
            assert_eq!(cast::identity(workload), cast::identity(member), "{workload}");
            seen.insert(workload.to_string(), workload.kind);
        }
    }
    let here = seen.values().filter(|kind| **kind != WorkloadKind::Outside).count();
    println!("{here} workloads on the host, {} peers outside, {} edges", seen.len() - here, expected.len());
    assert!(here >= 20, "only {here}: {seen:?}");
    assert_eq!(daemon.status()?["unattributed"], 0, "of some cgroup nothing could be learned");
    Ok(())
}

/// Starts them all, each runtime in its own time.
fn set(node: &Arc<Node>) -> Result<Cast> {
    thread::scope(|scope| {
        let parts = [docker::set, set_podman_and_pods, units::set].map(|set| scope.spawn(move || set(node)));
        let mut cast = Cast::default();
        for part in parts {
            cast.join(part.join().ok().context("a panic")??);
        }
        cast.join(world::set(node)?);
        Ok(cast)
    })
}

/// Podman makes the archive of the image that the pods are made of.
fn set_podman_and_pods(node: &Arc<Node>) -> Result<Cast> {
    let (mut cast, archive) = podman::set(node)?;
    cast.join(pods::set(node, &archive)?);
    Ok(cast)
}

/// Does it all; what the map must show.
fn play(cast: &Cast) -> Result<Vec<Expected>> {
    let mut edges: BTreeMap<String, Option<Counts>> = BTreeMap::new();
    for line in PLAY.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let [who, what, edge] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            anyhow::bail!("not of three parts: {line}");
        };
        let counts = cast.act(who, &cast.fill(what)?).with_context(|| line.to_owned())?;
        if edge != "-" {
            let so_far = edges.entry(cast.fill(edge)?).or_insert(Some(Counts::default()));
            *so_far = so_far.zip(counts).map(|(so_far, counts)| so_far + counts);
        }
    }
    let expected = edges.into_iter().map(|(edge, counts)| match counts {
        Some(counts) => Expected::named(edge).counted(counts),
        None => Expected::named(edge),
    });
    Ok(expected.collect())
}

/// Whether an edge of this workload has to be in the table; others are the machine's own.
fn is_ours(cast: &Cast, workload: &Workload) -> bool {
    let address = ["198.18.", "198.19.", "fd00:c0ff:"];
    match workload.kind {
        WorkloadKind::Outside => address.iter().any(|start| workload.name.starts_with(start)),
        WorkloadKind::Unknown | WorkloadKind::Other => true,
        _ => cast.member(workload).is_some(),
    }
}
