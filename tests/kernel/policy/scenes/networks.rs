//! Networks as Docker makes them: a bridge each, links into the namespaces of containers, translated addresses, and a
//! proxy for published ports.

use std::{collections::HashMap, fs, net::IpAddr, process::Command};

use anyhow::{Context as _, Result};
use cofferdam_common::ids::{Address, CgroupId};
use cofferdam_tests::{
    Namespace, Node, built,
    command::run,
    scenes::{
        Places,
        actor::Actor,
        cast::{CAST, Member, NETWORKS, PUBLISHED, Place, member},
        ground::{Ground, addresses},
    },
};

use super::super::judge::mapped;

/// Those who are on each network besides the host have addresses from here on.
const FIRST: usize = 10;

/// Makes the bridges on the host, which is the namespace that this is called in.
pub(super) fn make(ground: &Ground) -> Result<()> {
    for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(format!("/proc/sys/net/{switch}"), "1").context(switch)?;
    }
    for (number, network) in NETWORKS.iter().enumerate() {
        // Of its own: otherwise it would be that of a port, and another one's as soon as that is gone.
        let hardware = format!("02:00:00:00:01:{number:02x}");
        ground.ip(&format!("link add {network} address {hardware} type bridge"))?;
        for gateway in on(network, 1)? {
            ground.ip(&format!("addr add {} dev {network}", added(gateway)))?;
            let of = format!("{gateway}/{}", length(gateway));
            translate(gateway, &format!("POSTROUTING -s {of} ! -o {network} -j MASQUERADE"))?;
        }
        ground.ip(&format!("link set {network} up"))?;
    }
    Ok(())
}

/// Connects a container's namespace to its networks. Returns what the host's ends of the links are called.
pub(super) fn join(
    node: &Node,
    ground: &Ground,
    namespace: &Namespace,
    member: &'static Member,
    places: &mut Places,
) -> Result<Vec<String>> {
    let Place::Networks(networks) = member.place else { return Ok(Vec::new()) };
    let number = CAST.iter().position(|other| other.name == member.name).context("no such member")?;
    let (pid, mut links, mut inside) = (namespace.pid(), Vec::new(), "link set lo up\n".to_owned());
    // Whoever is started anew has the address of the hardware that his neighbours remember.
    let hardware = format!("02:00:00:00:00:{:02x}", FIRST + number);
    for network in networks {
        let link = format!("{network}{pid}");
        let peer = format!("name {network} address {hardware} netns {pid}");
        ground.ip(&format!("link add {link} type veth peer {peer}"))?;
        ground.ip(&format!("link set {link} master {network} up"))?;
        let own = on(network, FIRST + number)?;
        for address in &own {
            inside += &format!("addr add {} dev {network}\n", added(*address));
        }
        inside += &format!("link set {network} up\n");
        places.networks.insert((member.name, network), own);
        links.push(link);
    }
    for gateway in on(networks[0], 1)? {
        inside += &format!("route add default via {gateway}\n");
    }
    // One program for all of it.
    let lines = node.directory().join(format!("links-{pid}"));
    fs::write(&lines, inside)?;
    run(namespace.command(&["ip", "-batch"]).arg(&lines))?;
    Ok(links)
}

/// Publishes ports: packets to the host's addresses outside are translated, and what comes to loopback ones is passed on by
/// the proxy that is returned.
pub(super) fn publish(ground: &Ground, places: &Places) -> Result<Actor> {
    let mut ways = Vec::new();
    for (name, service, port) in PUBLISHED {
        let (protocol, own) = service.split_once('/').context("a service")?;
        let Some((Place::Networks(networks), member)) = member(name).map(|it| (it.place, it)) else {
            anyhow::bail!("{name} is in no container")
        };
        let targets = places.networks.get(&(member.name, networks[0])).context("no addresses")?;
        let target = |like: &IpAddr| targets.iter().find(|target| target.is_ipv4() == like.is_ipv4());
        for facade in &places.facade {
            let to = socket(target(facade).context("no address")?, own);
            for chain in ["PREROUTING", "OUTPUT"] {
                let what = format!("{chain} -d {facade} -p {protocol} --dport {port}");
                translate(*facade, &format!("{what} -j DNAT --to-destination {to}"))?;
            }
        }
        for proxy in &places.proxy {
            let to = socket(target(proxy).context("no address")?, own);
            ways.push(format!("{protocol}/{}/{to}", socket(proxy, &port.to_string())));
        }
    }
    let host = CAST.iter().find(|member| member.place == Place::Host).context("no host")?;
    let unit = ground.unit(host).context("the host does not act")?;
    let traffic = built("traffic")?.display().to_string();
    Actor::start(unit.command(&[&traffic, "pass"]).args(ways))
}

/// Everybody's addresses, and whose they are: those of the containers of a pod, which share them, are not told apart.
pub(super) fn owners(
    places: &Places,
    cgroup: impl Fn(&str) -> Option<CgroupId>,
) -> Result<HashMap<Address, CgroupId>> {
    let mut owners = HashMap::new();
    let gateways = NETWORKS.iter().map(|network| on(network, 1)).collect::<Result<Vec<_>>>()?;
    let host = places.host.values().chain([&places.facade]).chain(&gateways);
    owners.extend(host.flatten().map(|address| (mapped_ip(*address), CgroupId::ROOT)));
    for ((name, _), own) in &places.networks {
        let in_pod = member(name).is_some_and(|member| member.workload().kubernetes.is_some());
        let owner = if in_pod { Some(CgroupId::ROOT) } else { cgroup(name) };
        owners.extend(own.iter().filter_map(|address| Some((mapped_ip(*address), owner?))));
    }
    Ok(owners)
}

/// A rule in the table of translations. Without the address of a family it would be for the other one as well.
fn translate(family: IpAddr, rule: &str) -> Result<()> {
    let program = if family.is_ipv4() { "iptables" } else { "ip6tables" };
    let mut command = Command::new(program);
    run(command.args(["-w", "-t", "nat", "-A"]).args(rule.split_whitespace())).map(drop)
}

/// The addresses on a network of whoever has this number there.
fn on(network: &str, number: usize) -> Result<Vec<IpAddr>> {
    let place = NETWORKS.iter().position(|name| *name == network).context("no such network")?;
    addresses(&[format!("198.18.{place}.{number}"), format!("fd00:c0ff:d:{place}::{number}")])
}

/// Bits of an address that are its network's.
fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}

/// As `ip addr add` takes an address. That nobody else has it is not looked into first.
fn added(address: IpAddr) -> String {
    let nodad = if address.is_ipv4() { "" } else { " nodad" };
    format!("{address}/{}{nodad}", length(address))
}

fn socket(address: &IpAddr, port: &str) -> String {
    if address.is_ipv4() { format!("{address}:{port}") } else { format!("[{address}]:{port}") }
}

fn mapped_ip(address: IpAddr) -> Address {
    mapped((address, 0).into())
}
