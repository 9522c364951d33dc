//! The matrix of all scenes (`tests/scenes`) where there is no Docker: who plays has a cgroup as a container has one, and a
//! namespace on a bridge. Policies go the daemon's way from the text into the kernel.

use std::{collections::HashMap, fs, net::IpAddr, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use cofferdam::{
    attribution::Placed,
    config::Policies,
    enforcement::Sync,
    policy::{Settings, folder::Set},
};
use cofferdam_common::ids::{Address, CgroupId};
use cofferdam_tests::{
    Namespace, Outside, Unit, built, cgroup_root,
    command::run,
    scenes::{
        self, Scene,
        actor::Actor,
        cast::{CAST, Member, NETWORKS, Place, SERVED, SERVED_HERE},
        matrix::{self, Matrix},
    },
};
use serde_json::json;

use crate::node::Node;

/// Who plays, and where.
struct Stage {
    sync: Sync,
    machine: Arc<cofferdam_tests::Node>,
    outside: Outside,
    matrix: Matrix,
    /// Cgroups and namespaces, by whose they are.
    homes: HashMap<&'static str, (Unit, Option<Namespace>)>,
    placed: HashMap<&'static str, Placed>,
    addresses: HashMap<Address, CgroupId>,
    /// How many containers there were.
    made: usize,
}

impl Stage {
    fn set(sync: Sync) -> Result<Self> {
        let machine = Arc::new(cofferdam_tests::Node::start()?);
        let outside = Outside::plug_in(&machine)?;
        let mut stage = Self {
            sync,
            machine,
            outside,
            matrix: Matrix::default(),
            homes: HashMap::new(),
            placed: HashMap::new(),
            addresses: HashMap::new(),
            made: 0,
        };
        stage.ip("addr add fd00:c0ff:7::1/64 dev beyond nodad")?;
        let forward = "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding";
        run(stage.machine.command("sh").args(["-ec", forward]))?;
        for (number, network) in NETWORKS.iter().enumerate() {
            stage.ip(&format!("link add {network} type bridge"))?;
            for gateway in gateways(number) {
                stage.ip(&format!("addr add {gateway} dev {network} nodad"))?;
            }
            stage.ip(&format!("link set {network} up"))?;
        }
        for (number, member) in CAST.iter().enumerate() {
            if member.is_on_host() {
                let own = [format!("198.19.8.{}", number + 1), format!("fd00:c0ff:8::{}", number + 1)];
                for address in &own {
                    let nodad = if address.contains(':') { " nodad" } else { "" };
                    stage.ip(&format!("addr add {address} dev lo{nodad}"))?;
                    stage.addresses.insert(mapped(address.parse()?), CgroupId::ROOT);
                }
                let own = own.iter().map(|address| address.parse()).collect::<Result<_, _>>()?;
                stage.matrix.places.host.insert(member.name, own);
            }
            if let Place::Outside(address) = member.place {
                stage.ip(&format!("route add {address} dev beyond"))?;
            }
            stage.start(member).with_context(|| member.name)?;
        }
        Ok(stage)
    }

    fn ip(&self, line: &str) -> Result<()> {
        run(self.machine.command("ip").args(line.split_whitespace())).map(drop)
    }

    /// Starts one who plays.
    fn start(&mut self, member: &'static Member) -> Result<()> {
        if let Place::Outside(address) = member.place {
            let program = built("outside")?.display().to_string();
            let words = [&program, "act", &address.to_string(), "--serve", SERVED];
            self.matrix.actors.insert(member.name, Actor::start(&mut self.outside.command(&words))?);
            return Ok(());
        }
        self.made += 1;
        let path = match member.place {
            Place::Networks(_) | Place::Hosts => format!("{}/{:064x}", self.machine.cgroup(), self.made),
            Place::Unit => format!("{}/{}", self.machine.slice(), member.name),
            _ => String::new(),
        };
        let cgroup = cgroup_root()?.join(path.trim_start_matches('/'));
        let unit = Unit::make(&self.machine, &path)?;
        let id = if path.is_empty() { CgroupId::ROOT } else { CgroupId(inode(&cgroup)?) };
        let namespace = match member.place {
            Place::Networks(networks) => Some(self.namespace(member, networks, id)?),
            _ => None,
        };
        let traffic = built("traffic")?.display().to_string();
        let served = format!("{SERVED},{SERVED_HERE}");
        let mut words = vec![traffic, "act".to_owned(), "--serve".to_owned(), served];
        if let Some(own) = self.matrix.places.host.get(member.name) {
            let own = own.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
            words.extend(["--at".to_owned(), own]);
        }
        if let Some(namespace) = &namespace {
            let enter =
                ["nsenter", "--target", &namespace.pid().to_string(), "--net", "--"].map(str::to_owned);
            words.splice(0..0, enter);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let workload = Arc::new(member.workload());
        let placed = Placed { cgroup: id, workload, own: member.is_container(), told: true };
        self.placed.insert(member.name, placed);
        self.matrix.actors.insert(member.name, Actor::start(&mut unit.command(&words))?);
        self.homes.insert(member.name, (unit, namespace));
        Ok(())
    }

    /// A namespace on these networks.
    fn namespace(
        &mut self,
        member: &'static Member,
        networks: &'static [&'static str],
        cgroup: CgroupId,
    ) -> Result<Namespace> {
        let namespace = Namespace::make(&self.machine)?;
        let inside = |line: &str| {
            let words: Vec<_> = ["ip"].into_iter().chain(line.split_whitespace()).collect();
            run(&mut namespace.command(&words))
        };
        inside("link set lo up")?;
        for network in networks {
            let number = NETWORKS.iter().position(|name| name == network).context("no such network")?;
            let outer = format!("v{}{network}", self.made);
            let pid = namespace.pid();
            self.ip(&format!("link add {outer} type veth peer name {network} netns {pid}"))?;
            self.ip(&format!("link set {outer} master {network} up"))?;
            inside(&format!("link set {network} up"))?;
            let host = self.made + 10;
            let own = [format!("198.18.{number}.{host}"), format!("fd00:c0ff:d:{number}::{host}")];
            inside(&format!("addr add {}/24 dev {network}", own[0]))?;
            inside(&format!("addr add {}/64 dev {network} nodad", own[1]))?;
            let own = own.iter().map(|address| address.parse()).collect::<Result<Vec<IpAddr>, _>>()?;
            // The containers of a pod share their addresses, so that only sockets can tell.
            let owner = if member.workload().kubernetes.is_some() { CgroupId::ROOT } else { cgroup };
            self.addresses.extend(own.iter().map(|address| (mapped(*address), owner)));
            self.matrix.places.networks.insert((member.name, network), own);
        }
        let first = NETWORKS.iter().position(|name| *name == networks[0]).context("no such network")?;
        for gateway in gateways(first) {
            let address = gateway.split('/').next().unwrap_or_default();
            inside(&format!("route add default via {address}"))?;
        }
        Ok(namespace)
    }

    fn placed(&self) -> Vec<Placed> {
        let copy = |it: &Placed| Placed { workload: Arc::clone(&it.workload), ..*it };
        self.placed.values().map(copy).collect()
    }
}

impl matrix::Stage for Stage {
    fn matrix(&mut self) -> &mut Matrix {
        &mut self.matrix
    }

    /// All else that lives on this machine is left alone.
    fn enforce(&mut self, scene: &Scene) -> Result<()> {
        let mut set = Set::default();
        let added = set.add_text(Path::new("scene.yaml"), scene.policies.clone());
        added.map_err(|problem| anyhow::anyhow!("{}", problem.line().to_owned()))?;
        let policies = set.into_parts().0.into_iter().map(Arc::new).collect();
        let mut config: serde_json::Map<_, _> = scene.settings()?.into_iter().collect();
        config.insert("unresolved".to_owned(), json!("allow"));
        let config: Policies = serde_json::from_value(config.into())?;
        let placed = self.placed();
        self.sync.apply(policies, Settings::from(&config), &placed)?;
        self.sync.turn(&placed, &self.addresses)
    }

    fn start_anew(&mut self, member: &'static Member) -> Result<()> {
        self.matrix.actors.remove(member.name);
        self.homes.remove(member.name);
        if let Some(old) = self.placed.remove(member.name) {
            self.addresses.retain(|_, cgroup| *cgroup != old.cgroup);
        }
        self.start(member)?;
        let placed = self.placed();
        self.sync.turn(&placed, &self.addresses)
    }
}

/// The host's addresses on a network.
fn gateways(number: usize) -> [String; 2] {
    [format!("198.18.{number}.1/24"), format!("fd00:c0ff:d:{number}::1/64")]
}

fn inode(path: &Path) -> Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::ino(&fs::metadata(path)?))
}

fn mapped(address: IpAddr) -> Address {
    Address(match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    })
}

#[test]
fn every_cell_of_every_scene_is_as_it_is_written() -> Result<()> {
    let node = Node::start();
    node.loaded.sensor.need("policy", true);
    println!("{}", matrix::play(&mut Stage::set(Sync::new(node.loaded.policy))?, &scenes::all()?)?);
    Ok(())
}
