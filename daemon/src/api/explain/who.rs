//! Who is meant by a name.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use axum::http::StatusCode;
use cofferdam_common::{
    ids::{Address, CgroupId},
    network::Party,
};

use crate::{
    api::{Answer, Refusal},
    attribution::Attribution,
    event::{Workload, WorkloadKind},
    interaction::Edge,
    policy::explain::End,
};

/// Most workloads that one name may mean; those beyond are not looked at.
const MOST: usize = 256;

/// Somebody at one end. Peers outside are who they are by their address.
#[derive(Clone, Debug)]
pub(super) struct Who {
    workload: Arc<Workload>,
    /// Of a peer outside.
    address: Option<IpAddr>,
}

impl Who {
    /// A workload of this host, or a peer outside that goes by its address.
    pub(super) fn new(workload: Arc<Workload>) -> Option<Self> {
        match workload.kind {
            WorkloadKind::Outside => {
                workload.name.parse().ok().map(|address| Self { workload, address: Some(address) })
            }
            // Nobody in particular.
            WorkloadKind::Other => None,
            _ => Some(Self { workload, address: None }),
        }
    }

    pub(super) fn end(&self) -> End<'_> {
        self.address.map_or(End::Workload(&self.workload), End::Address)
    }

    /// Whether the map means the same. There a peer outside can have a name of each that looked it up.
    pub(super) fn is(&self, workload: &Arc<Workload>) -> bool {
        match workload.kind {
            WorkloadKind::Outside => self.address.is_some() && self.workload.name == workload.name,
            _ => self.workload == *workload,
        }
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

/// As explanations call him.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "outside {address}"),
            None => self.workload.fmt(f),
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
        let who = Who::new(Arc::clone(workload));
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
    let mapped: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let host = Party { cgroup: CgroupId::ROOT, address: Address::NONE };
    let (workload, _) =
        attribution.parties(&Party { cgroup: CgroupId::NONE, address: Address(mapped.octets()) }, &host);
    let address = (workload.kind == WorkloadKind::Outside).then(|| address.to_canonical());
    Who { workload, address }
}
