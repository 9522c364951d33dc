//! Keeps the links of containers covered: what passes them is judged while policies are in force, as soon as they are there
//! and before anything is sent, and the kernel knows whose they are.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam_common::{ids::CgroupId, name::Entrance};
use tokio::{sync::oneshot, time::sleep};
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use crate::{
    attribution::{Home, Networked, Placed},
    enforcement::Partial,
    event::WorkloadKind,
    links::{Links, Namespace, Veth},
    sensor::Sensor,
    view::View,
};

/// How often it is looked whether policies have come into force, and whose links are.
const TICK: Duration = Duration::from_millis(100);
/// How often all links are listed, should the kernel not have told that one is new.
const LIST_EVERY: Duration = Duration::from_secs(2);
/// How long somebody whose network has no link to ours is not asked about again.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long the owner of a link may be unknown. Then it is taken for one that no container is behind.
const OWNED_WITHIN: Duration = Duration::from_secs(5);
/// By how many of its processes the network is looked for of a container whose first one does not tell.
const PROCESSES: usize = 64;

/// Covers what is there once policies are in force as far as they can be (the sender of `in_force` is dropped), drops
/// `covering` when that is done, and goes on until `cancel`.
pub(super) async fn keep(
    view: View,
    sensor: Arc<Sensor>,
    in_force: oneshot::Receiver<Infallible>,
    covering: oneshot::Sender<Infallible>,
    cancel: CancellationToken,
) {
    // An error is the sender's end.
    let _ = in_force.await;
    let links = match Links::open() {
        Ok(links) => links,
        Err(error) => {
            tracing::error!("what no socket sends is not judged: {error:#}");
            if let Err(error) = sensor.take_over() {
                tracing::error!("what an earlier daemon has left still judges: {error:#}");
            }
            return;
        }
    };
    let mut keeper = Keeper::new(links);
    keeper.turn(&view, &sensor).await;
    drop(covering);
    while !cancel.is_cancelled() {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = keeper.links.changed() => keeper.listed = None,
            () = sleep(TICK) => {}
        }
        keeper.turn(&view, &sensor).await;
    }
}

struct Keeper {
    links: Links,
    /// When links were last listed; `None` when something has changed since.
    listed: Option<Instant>,
    /// What is covered, by index.
    known: HashMap<u32, Known>,
    /// Which namespaces containers are in, and when that was asked.
    namespaces: HashMap<Networked, (Option<Namespace>, Instant)>,
    /// Whether policies have just come into force.
    first: bool,
    /// Whether what an earlier daemon has left is dealt with.
    taken_over: bool,
    trouble: Trouble,
}

struct Known {
    namespace: Namespace,
    /// The index of the other end there.
    peer: u32,
    since: Instant,
    owner: Option<CgroupId>,
}

impl Keeper {
    fn new(links: Links) -> Self {
        Self {
            links,
            listed: None,
            known: HashMap::new(),
            namespaces: HashMap::new(),
            first: true,
            taken_over: false,
            trouble: Trouble::default(),
        }
    }

    async fn turn(&mut self, view: &View, sensor: &Sensor) {
        let result = self.try_turn(view, sensor).await;
        if let Some(trouble) = self.trouble.news(result) {
            tracing::error!("not all links of containers are covered: {trouble}");
        }
        self.first = !sensor.stays();
    }

    async fn try_turn(&mut self, view: &View, sensor: &Sensor) -> anyhow::Result<()> {
        if !sensor.stays() {
            return self.rest(view, sensor).await;
        }
        let mut result = Ok(());
        let lists = self.listed.is_none_or(|listed| listed.elapsed() >= LIST_EVERY);
        if lists {
            self.listed = Some(Instant::now());
            // Until all are known, what an earlier daemon has left judges.
            let veths = self.links.veths().await?;
            result = self.cover(sensor, &veths);
            if !self.taken_over {
                sensor.take_over()?;
                self.taken_over = true;
            }
        }
        let untold = view.attribution.untold();
        let is_due = |known: &Known| match known.owner {
            None => true,
            Some(owner) => owner == CgroupId::NONE && !untold.is_empty(),
        };
        if lists || self.known.values().any(is_due) {
            let containers = view.attribution.networked();
            let canaries = view.attribution.networked_canaries();
            let lost = self.lost(&containers).filter_map(|container| {
                Some((view.attribution.home(container.cgroup)?, Arc::clone(&container.name)))
            });
            let lost: Vec<_> = lost.flat_map(|(home, name)| networked(&home, &name)).collect();
            let untold = untold.iter().map(|(home, name)| networked(home, name));
            let untold: Vec<_> = untold.filter(|processes| !processes.is_empty()).collect();
            let all = [&containers[..], &canaries, &lost, &untold.concat()].concat();
            result = result.and(self.find_owners(sensor, &all).await);
            let untold = untold.iter().filter_map(|processes| self.speaks_for(processes));
            let containers: Vec<_> = containers.into_iter().chain(untold.cloned()).collect();
            result =
                result.and(sensor.set_entrances(&self.entrances(&containers, &view.attribution.placed())));
            let (mut covered, open) = self.by_cover(&containers);
            covered.extend(self.by_cover(&canaries).0);
            result = result.and(view.policies.set_covered(covered));
            if lists {
                view.policies.set_partial(if sensor.judges_unread() {
                    Vec::new()
                } else {
                    partial(&open, &view.policies.limited_senders())
                });
            }
        }
        result
    }

    /// No policy is in force.
    async fn rest(&mut self, view: &View, sensor: &Sensor) -> anyhow::Result<()> {
        self.known.clear();
        self.listed = None;
        sensor.links_listed(&HashSet::new());
        view.policies.set_partial(Vec::new());
        view.policies.set_covered(HashSet::new())?;
        // Where the policies are broken, what an earlier daemon has left stays.
        if self.taken_over || view.policies.report().problem.is_some() {
            return Ok(());
        }
        self.links.veths().await?.iter().for_each(|veth| sensor.remove_filters(&veth.name));
        self.taken_over = true;
        Ok(())
    }

    /// Covers what is new, and forgets what is gone.
    fn cover(&mut self, sensor: &Sensor, veths: &[Veth]) -> anyhow::Result<()> {
        let mut result = Ok(());
        let mut there = HashSet::new();
        for veth in veths {
            // One whose other end is still, or also, on the host is no container's.
            let Some(namespace) = veth.namespace else { continue };
            there.insert(veth.index);
            match self.known.get(&veth.index) {
                Some(known) if known.namespace == namespace => continue,
                Some(_) => result = result.and(sensor.uncover(veth.index)),
                None => {}
            }
            match sensor.cover(veth.index, &veth.name) {
                Ok(()) => {
                    let known = Known { namespace, peer: veth.peer, since: Instant::now(), owner: None };
                    self.known.insert(veth.index, known);
                }
                // It may be gone already.
                Err(error) => result = result.and(Err(error)),
            }
        }
        for index in self.known.keys().filter(|index| !there.contains(index)) {
            result = result.and(sensor.uncover(*index));
        }
        self.known.retain(|index, _| there.contains(index));
        sensor.links_listed(&there);
        result
    }

    /// Says whose the links are of which that is not known yet.
    async fn find_owners(&mut self, sensor: &Sensor, containers: &[Networked]) -> anyhow::Result<()> {
        let living: HashSet<_> = containers.iter().collect();
        self.namespaces.retain(|container, _| living.contains(container));
        for container in containers {
            let known = self.namespaces.get(container);
            if known.is_none_or(|(found, asked)| found.is_none() && asked.elapsed() >= ASK_EVERY) {
                let found = self.links.namespace_of(container.pid).await;
                self.namespaces.insert(container.clone(), (found, Instant::now()));
            }
        }
        let mut result = Ok(());
        for (index, known) in &mut self.known {
            if known.owner.is_some_and(|owner| owner != CgroupId::NONE) {
                continue;
            }
            let mut behind = Vec::new();
            for (container, _) in
                self.namespaces.iter().filter(|(_, (found, _))| *found == Some(known.namespace))
            {
                // Numbers of namespaces are used again, and who had this one may just have ended.
                if self.links.namespace_of(container.pid).await == Some(known.namespace) {
                    behind.push(container.cgroup);
                }
            }
            // Of a pod, the one that was there first holds the network.
            let owner = behind.into_iter().min();
            // Who was there before has been named, if ever he will be.
            if owner.is_some() || self.first || known.since.elapsed() >= OWNED_WITHIN {
                let owner = owner.unwrap_or(CgroupId::NONE);
                result = result.and(sensor.set_owner(*index, owner));
                known.owner = Some(owner);
            }
        }
        result
    }

    /// Containers whose first process is in none of the networks that links lead to, nor in the host's: another of their
    /// processes may still be where it was.
    fn lost<'a>(&self, containers: &'a [Networked]) -> impl Iterator<Item = &'a Networked> {
        let is_lost = |container: &&Networked| {
            let asked = self.namespaces.get(*container);
            asked.is_some_and(|(found, _)| found.is_none()) && !container.is_on_hosts_network()
        };
        containers.iter().filter(is_lost)
    }

    /// By which of its processes a container goes of which no runtime tells the first: one whose network a link leads to, else one
    /// that is not on the host's, as is who only watches over the others.
    fn speaks_for<'a>(&self, processes: &'a [Networked]) -> Option<&'a Networked> {
        let has_link = |process: &&Networked| {
            self.namespaces.get(*process).is_some_and(|(namespace, _)| namespace.is_some())
        };
        let apart = |process: &&Networked| !process.is_on_hosts_network();
        let found = processes.iter().find(has_link);
        found.or_else(|| processes.iter().find(apart)).or_else(|| processes.first())
    }

    /// By which links answers from outside reach whom: containers by theirs, and whoever uses the host's network by all of
    /// the host's.
    fn entrances(&self, containers: &[Networked], placed: &[Placed]) -> HashSet<Entrance> {
        let entrance = |owner, link| Entrance { owner, link, padding: 0 };
        let mut entrances: HashSet<_> = HashSet::new();
        for container in containers {
            if let Some((Some(namespace), _)) = self.namespaces.get(container) {
                let links = self.known.values().filter(|it| it.namespace == *namespace && it.peer != 0);
                entrances.extend(links.map(|known| entrance(container.cgroup, known.peer)));
            } else if container.is_on_hosts_network() {
                entrances.insert(entrance(container.cgroup, 0));
            }
        }
        let elsewhere = [WorkloadKind::Container, WorkloadKind::Canary];
        let on_host = placed.iter().filter(|placed| !elsewhere.contains(&placed.workload.kind));
        entrances.extend(on_host.map(|placed| entrance(placed.cgroup, 0)));
        entrances
    }

    /// Of which containers each frame is judged at a link of their own, by their cgroups, and of which it is not.
    fn by_cover<'a>(&self, containers: &'a [Networked]) -> (HashSet<CgroupId>, Vec<&'a Networked>) {
        let links: HashSet<Namespace> = self.known.values().map(|known| known.namespace).collect();
        let is_covered = |container: &&Networked| {
            let namespace = self.namespaces.get(*container).and_then(|(namespace, _)| *namespace);
            namespace.is_some_and(|namespace| links.contains(&namespace))
        };
        let (covered, open): (Vec<_>, _) = containers.iter().partition(is_covered);
        (covered.into_iter().map(|container| container.cgroup).collect(), open)
    }
}

/// What a container may be found by whose first process does not tell.
fn networked(home: &Home, name: &Arc<str>) -> Vec<Networked> {
    let pids =
        home.processes(PROCESSES).into_iter().take(PROCESSES).filter_map(|pid| u32::try_from(pid).ok());
    pids.map(|pid| Networked { cgroup: home.cgroup, pid, name: Arc::clone(name) }).collect()
}

/// Of whom not all that they send can be judged: containers without a link of their own, and others, who never have one.
fn partial(open: &[&Networked], others: &BTreeSet<String>) -> Vec<Partial> {
    let open = open.iter().filter(|container| container.has_network());
    let others = others.iter().map(|name| Partial::without_link(name));
    open.map(|container| Partial::without_link(&container.name)).chain(others).collect()
}
