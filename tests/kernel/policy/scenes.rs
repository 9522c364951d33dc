//! The matrix of all scenes (`tests/scenes`) where there is no Docker: whoever plays has a cgroup and a namespace as a
//! container has them. Policies go the daemon's way from the text into the kernel.

mod networks;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow};
use cofferdam::{
    attribution::Placed,
    config::Policies,
    enforcement::Sync,
    policy::{Settings, folder::Set},
    sensor::{Sensor, policy::PolicyMaps},
};
use cofferdam_common::ids::CgroupId;
use cofferdam_tests::{
    Namespace, Node, Unit, built,
    scenes::{
        self, Scene,
        actor::Actor,
        cast::{CAST, Member, Place},
        ground::{Ground, arguments},
        matrix::{self, Matrix, Pace},
    },
};
use serde_json::json;

use super::judge::{cover, index};
use crate::{namespace::in_namespace, node};

/// Where all who play are.
struct Stage<'a> {
    sensor: &'a Sensor,
    sync: Sync,
    node: Arc<Node>,
    ground: Ground,
    containers: HashMap<&'static str, Container>,
    /// Who lives in which cgroup.
    placed: BTreeMap<&'static str, Placed>,
    /// How many containers there were.
    made: usize,
    matrix: Matrix,
}

/// What a container is made of.
struct Container {
    cgroup: Unit,
    /// Unless it is on the host's network.
    _namespace: Option<Namespace>,
    /// Indices of the host's ends of its links.
    links: Vec<u32>,
}

impl<'a> Stage<'a> {
    /// Sets it in the network namespace that this is called in. With it comes the proxy of published ports.
    fn set(sensor: &'a Sensor, maps: PolicyMaps) -> Result<(Self, Actor)> {
        let node = Arc::new(Node::on_this_network()?);
        let mut matrix = Matrix::new(Pace::in_part());
        let ground = Ground::lay(&node, &mut matrix.places)?;
        networks::make(&ground)?;
        let mut stage = Self {
            sensor,
            sync: Sync::new(maps),
            node,
            ground,
            containers: HashMap::new(),
            placed: BTreeMap::new(),
            made: 0,
            matrix,
        };
        for member in CAST {
            stage.start(member).with_context(|| member.name)?;
        }
        let proxy = networks::publish(&stage.ground, &stage.matrix.places)?;
        Ok((stage, proxy))
    }

    /// Starts one who plays.
    fn start(&mut self, member: &'static Member) -> Result<()> {
        let actor = if member.is_container() {
            self.start_container(member)?
        } else {
            self.ground.start(member, &self.matrix.places)?
        };
        self.matrix.actors.insert(member.name, actor);
        let cgroup = match member.place {
            Place::Outside(_) => return Ok(()),
            Place::Host => CgroupId::ROOT,
            Place::Unit => self.ground.unit(member).context("no unit")?.id()?,
            Place::Networks(_) | Place::Hosts => self.containers[member.name].cgroup.id()?,
        };
        let workload = Arc::new(member.workload());
        self.placed.insert(
            member.name,
            Placed { cgroup, workload, home: cgroup, own: member.is_container(), told: true },
        );
        Ok(())
    }

    fn start_container(&mut self, member: &'static Member) -> Result<Actor> {
        self.made += 1;
        let cgroup = Unit::make(&self.node, &format!("{}/{:064x}", self.node.cgroup(), self.made))?;
        let traffic = built("traffic")?.display().to_string();
        let (mut words, mut namespace, mut links) = (vec![traffic], None, Vec::new());
        if let Place::Networks(_) = member.place {
            let own = Namespace::make(&self.node)?;
            for link in networks::join(&self.node, &self.ground, &own, member, &mut self.matrix.places)? {
                cover(self.sensor, &link, cgroup.id()?)?;
                links.push(index(&link));
            }
            let enter = ["nsenter", "--target", &own.pid().to_string(), "--net", "--"].map(str::to_owned);
            words.splice(0..0, enter);
            namespace = Some(own);
        }
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let actor = Actor::start(cgroup.command(&words).args(arguments(member, &self.matrix.places)))?;
        self.containers.insert(member.name, Container { cgroup, _namespace: namespace, links });
        Ok(actor)
    }

    fn placed(&self) -> Vec<Placed> {
        let copy = |it: &Placed| Placed { workload: Arc::clone(&it.workload), ..*it };
        self.placed.values().map(copy).collect()
    }

    /// Tells the kernel who lives here, and where.
    fn tell(&mut self) -> Result<()> {
        let cgroup = |name: &str| self.placed.get(name).map(|placed| placed.cgroup);
        let owners = networks::owners(&self.matrix.places, cgroup)?;
        self.sync.turn(&self.placed(), &owners)
    }
}

impl matrix::Stage for Stage<'_> {
    fn matrix(&mut self) -> &mut Matrix {
        &mut self.matrix
    }

    /// Whoever else lives on this machine is left alone.
    fn enforce(&mut self, scene: &Scene) -> Result<()> {
        let mut set = Set::default();
        let added = set.add_text(Path::new("scene.yaml"), scene.policies.clone());
        added.map_err(|problem| anyhow!("{}", problem.line().to_owned()))?;
        let mut config: serde_json::Map<_, _> = scene.settings()?.into_iter().collect();
        config.insert("unresolved".to_owned(), json!("allow"));
        let config: Policies = serde_json::from_value(config.into())?;
        let (policies, placed) = (set.into_parts().0, self.placed());
        self.sync.apply(policies, Settings::from(&config), &placed, |_| {})?;
        self.tell()
    }

    fn start_anew(&mut self, member: &'static Member) -> Result<()> {
        self.matrix.actors.remove(member.name);
        self.placed.remove(member.name);
        let old = self.containers.remove(member.name).context("no container")?;
        let links = old.links.clone();
        drop(old);
        links.iter().try_for_each(|link| self.sensor.uncover(*link))?;
        self.start(member)?;
        self.tell()
    }
}

#[test]
fn every_cell_of_every_scene_is_as_it_is_written() -> Result<()> {
    let node = node::Node::start();
    let loaded = node.loaded.take();
    loaded.sensor.need("policy", true);
    let (sensor, maps) = (&loaded.sensor, loaded.policy);
    in_namespace(&[], || {
        let (mut stage, _proxy) = Stage::set(sensor, maps)?;
        matrix::play(&mut stage, &scenes::all()?, |line| println!("{line}"))
    })
}
