//! Who is meant by a name.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use axum::http::StatusCode;
use cofferdam_common::{
    ids::{Address, CgroupId},
    network::Party,
};

use crate::{
    api::{Answer, Refusal},
    attribution::Attribution,
    event::{Alert, Workload, WorkloadKind},
    history::History,
    interaction::Edge,
    policy::{explain::End, names::NamePattern},
};

/// Most workloads that one name may mean; those beyond are not looked at.
const MOST: usize = 256;

/// Somebody at one end. Peers outside are who they are by their address, and those without one by their name.
#[derive(Clone, Debug)]
pub(super) struct Who {
    workload: Arc<Workload>,
    /// Of a peer outside, unless nobody has looked its name up yet.
    address: Option<IpAddr>,
    /// Of a peer outside: the DNS name by which it was asked for.
    names: Vec<String>,
}

impl Who {
    /// A workload of this host, or a peer outside that goes by its address.
    pub(super) fn new(workload: Arc<Workload>) -> Option<Self> {
        match workload.kind {
            WorkloadKind::Outside => {
                let address = Some(workload.name.parse().ok()?);
                Some(Self { workload, address, names: Vec::new() })
            }
            // Nobody in particular.
            WorkloadKind::Other => None,
            _ => Some(Self { workload, address: None, names: Vec::new() }),
        }
    }

    /// A peer outside that is known by a name only.
    pub(super) fn of_name(name: &str) -> Self {
        let workload = Workload::named(WorkloadKind::Outside, name).into();
        Self { workload, address: None, names: vec![name.to_owned()] }
    }

    /// As the map has him.
    pub(super) fn workload(&self) -> &Workload {
        &self.workload
    }

    /// As policies judge him.
    pub(super) fn end(&self) -> End<'_> {
        self.end_known_as(&self.names)
    }

    /// As policies judge him if the other end knows him by these names.
    pub(super) fn end_known_as<'a>(&'a self, names: &'a [String]) -> End<'a> {
        match self.workload.kind {
            WorkloadKind::Outside => End::Outside { address: self.address, names },
            _ => End::Workload(&self.workload),
        }
    }

    /// The DNS names by which the source knows him, of which these interactions were seen: that by which he was asked for,
    /// and those that it has looked up.
    pub(super) fn names(&self, edges: &[&Edge]) -> Vec<String> {
        let looked_up = edges.iter().filter_map(|edge| edge.target.dns_name.as_ref());
        let names: BTreeSet<_> = self.names.iter().chain(looked_up).cloned().collect();
        names.into_iter().collect()
    }

    /// Whether the map means the same. There a peer outside can have a name of each that looked it up.
    pub(super) fn is(&self, workload: &Arc<Workload>) -> bool {
        match workload.kind {
            WorkloadKind::Outside => self.address.is_some() && self.workload.name == workload.name,
            _ => self.workload == *workload,
        }
    }

    /// Whether an alert means the same, in which replicas and images are one, and addresses of one DNS name are as well.
    pub(super) fn is_meant_by(&self, workload: &Workload) -> bool {
        let is_name = |name: &String| self.names.contains(name);
        self.workload.kind == workload.kind
            && (self.workload.name == workload.name || workload.dns_name.as_ref().is_some_and(is_name))
    }
}

impl PartialEq for Who {
    fn eq(&self, other: &Self) -> bool {
        match (self.address, other.address) {
            (None, None) => self.workload == other.workload,
            (one, two) => one == two,
        }
    }
}

/// Whom a name can mean: what lives here, containers that have ended, and whoever is on the map.
pub(in crate::api) fn known(attribution: &Attribution, edges: &[Edge]) -> BTreeSet<Arc<Workload>> {
    let live = attribution.live().into_iter().map(|(_, workload)| workload);
    let containers = attribution.containers().into_iter().map(|container| container.workload);
    let on_the_map = edges.iter().flat_map(|edge| [&edge.source, &edge.target]).map(Arc::clone);
    live.chain(containers).chain(on_the_map).chain([Arc::new(Workload::host())]).collect()
}

/// Where nobody is called so any more: those who were, as alerts have them, or the history. Without a history nobody was.
pub(super) fn remember(name: &str, alerts: &[Alert], history: &History, known: &mut BTreeSet<Arc<Workload>>) {
    let is_called = |workload: &Arc<Workload>| workload.is_called(name);
    // An address is whoever has it now.
    if name.parse::<IpAddr>().is_ok() || known.iter().any(is_called) {
        return;
    }
    let in_alerts = alerts.iter().flat_map(|alert| [Some(&alert.source), alert.target.as_ref()]).flatten();
    known.extend(in_alerts.filter(|workload| is_called(workload)).map(Arc::clone));
    known.extend(history.called(name).unwrap_or_default().into_iter().map(Arc::new));
}

/// To whom is sent that goes by a name. One that nobody has looked up yet is a peer outside, if it can be that: if it has a
/// dot, or policies speak of it.
pub(super) fn called_as_target(
    name: &str,
    attribution: &Attribution,
    known: &BTreeSet<Arc<Workload>>,
    is_in_policies: impl Fn(&str) -> bool,
) -> Answer<Vec<Who>> {
    let found = called(name, attribution, known);
    match found {
        Err(Refusal(StatusCode::NOT_FOUND, _)) => {
            let pattern = NamePattern::try_from(name.to_owned()).ok();
            let is_name = |it: &NamePattern| it.as_str().contains('.') || is_in_policies(it.as_str());
            pattern.filter(is_name).map_or(found, |pattern| Ok(vec![Who::of_name(pattern.as_str())]))
        }
        _ => found,
    }
}

/// Whom a name means.
pub(super) fn called(
    name: &str,
    attribution: &Attribution,
    known: &BTreeSet<Arc<Workload>>,
) -> Answer<Vec<Who>> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![of_address(address, attribution)]);
    }
    let mut whos = Vec::<Who>::new();
    let mut network = false;
    for workload in known.iter().filter(|workload| workload.is_called(name)) {
        let mut who = Who::new(Arc::clone(workload));
        if let Some(who) = who.as_mut().filter(|who| who.workload.dns_name.as_deref() == Some(name)) {
            who.names = vec![name.to_owned()];
        }
        network |= who.is_none();
        if let Some(who) = who.filter(|who| !whos.contains(who))
            && whos.len() < MOST
        {
            whos.push(who);
        }
    }
    if !whos.is_empty() {
        return Ok(whos);
    }
    Err(if network {
        let error = format!(
            "`{name}` stands for many addresses, and rules judge each by itself: ask for one of them"
        );
        Refusal(StatusCode::BAD_REQUEST, error)
    } else {
        let error = format!("nobody is called `{name}`: `cofferdam map` and `cofferdam ps` tell the names");
        Refusal(StatusCode::NOT_FOUND, error)
    })
}

/// Whose address it is: a container's, the host's, or a peer's outside.
fn of_address(address: IpAddr, attribution: &Attribution) -> Who {
    let host = Party { cgroup: CgroupId::ROOT, address: Address::NONE };
    let (workload, _) =
        attribution.parties(&Party { cgroup: CgroupId::NONE, address: address.into() }, &host);
    let address = (workload.kind == WorkloadKind::Outside).then(|| address.to_canonical());
    Who { workload, address, names: Vec::new() }
}
