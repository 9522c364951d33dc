//! By which name what is learned is kept: a workload beyond its replicas, and an outside peer beyond its addresses.

use std::net::IpAddr;

use crate::event::{Scope, Workload, WorkloadKind, of_controller};

/// Longest name that is kept, in bytes. Longer ones are cut: a domain has no more, and a cgroup's path may have.
const LONGEST: usize = 256;

/// Platforms on which everybody has names of his own: there the whole name says who it is.
const SHARED: [&str; 14] = [
    "amazonaws.com",
    "appspot.com",
    "azurewebsites.net",
    "cloudapp.net",
    "cloudfront.net",
    "digitaloceanspaces.com",
    "fastly.net",
    "github.io",
    "googleusercontent.com",
    "herokuapp.com",
    "ngrok.io",
    "trafficmanager.net",
    "windows.net",
    "workers.dev",
];

/// Second levels below which a country registers names.
const REGISTRIES: [&str; 9] = ["ac", "co", "com", "edu", "gov", "net", "or", "org", "ne"];

/// Whether what it does is learned: what lives on this host. Nobody can learn what the world outside does.
pub(super) fn is_subject(workload: &Workload) -> bool {
    matches!(
        workload.kind,
        WorkloadKind::Container | WorkloadKind::Unit | WorkloadKind::Host | WorkloadKind::Cgroup
    )
}

/// Whether it is a peer that can be told from others.
pub(super) fn is_peer(workload: &Workload) -> bool {
    is_subject(workload)
        || (workload.kind == WorkloadKind::Outside && workload.scope != Some(Scope::Multicast))
}

/// What a workload is learned as: the same for its replicas, and after a restart.
pub(super) fn subject(workload: &Workload) -> String {
    match workload.place() {
        Some(place) => {
            let container = place.container.as_deref().unwrap_or_default();
            let owner = of_controller(&place.pod).map_or(&*place.pod, |(owner, _)| owner);
            clip(&format!("{}/{owner}/{container}", place.namespace))
        }
        None => clip(&workload.name),
    }
}

/// Whom it belongs to: the compose project, or the namespace.
pub(super) fn project(workload: &Workload) -> Option<&str> {
    let namespace = workload.place().map(|place| place.namespace.as_str());
    namespace.or(workload.project.as_deref())
}

/// What it was made of, as well as that is known.
pub(super) fn image(workload: &Workload) -> Option<&str> {
    workload.image_digest.as_deref().or(workload.image.as_deref())
}

/// What a peer is learned as.
pub(super) fn peer(workload: &Workload) -> String {
    if workload.kind != WorkloadKind::Outside {
        return subject(workload);
    }
    let name = match (&workload.dns_name, workload.name.parse::<IpAddr>()) {
        (Some(name), _) => domain(name),
        (None, Ok(address)) => network(address, workload.scope),
        (None, Err(_)) => clip(&workload.name),
    };
    // No workload of this host has a space in its name.
    format!("outside {name}")
}

/// The part of a DNS name that somebody registered, as far as that can be told without a list of all suffixes.
pub(super) fn domain(name: &str) -> String {
    let name = clip(name.trim_end_matches('.')).to_ascii_lowercase();
    let is_below = |suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    if SHARED.into_iter().any(is_below) {
        return name;
    }
    let labels: Vec<&str> = name.rsplit('.').collect();
    let country = labels.len() > 2 && labels[0].len() == 2 && REGISTRIES.contains(&labels[1]);
    let kept = labels.len().min(if country { 3 } else { 2 });
    labels[..kept].iter().rev().copied().collect::<Vec<_>>().join(".")
}

/// The network that an address without a name is learned by. Those in somebody's own network are fewer, and each means more.
fn network(address: IpAddr, scope: Option<Scope>) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            if scope == Some(Scope::Private) {
                format!("{a}.{b}.{c}.0/24")
            } else {
                format!("{a}.{b}.0.0/16")
            }
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

/// A name as it is kept.
pub(super) fn clip(name: &str) -> String {
    name[..name.floor_char_boundary(LONGEST)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kubernetes;

    #[test]
    fn a_domain_is_what_somebody_registered() {
        let cases = [
            ("api.eu.Stripe.com.", "stripe.com"),
            ("www.shop.co.uk", "shop.co.uk"),
            ("mine.s3.eu-west-1.amazonaws.com", "mine.s3.eu-west-1.amazonaws.com"),
            ("db", "db"),
            ("", ""),
            ("..", ""),
        ];
        for (name, expected) in cases {
            assert_eq!(domain(name), expected, "{name}");
        }
    }

    #[test]
    fn pods_of_one_owner_are_one_subject() {
        let pod = |name: &str| {
            let place =
                Kubernetes { namespace: "shop".into(), pod: name.into(), container: Some("nginx".into()) };
            let called = place.to_string();
            subject(&Workload { kubernetes: Some(place), ..Workload::named(WorkloadKind::Container, called) })
        };
        assert_eq!(pod("web-7d4b9c6f5-x2vbz"), "shop/web/nginx");
        assert_eq!(pod("db-0"), "shop/db/nginx");
        assert_eq!(pod("agent-x2vbz"), "shop/agent/nginx");
        assert_eq!(pod("single"), "shop/single/nginx");
        assert_eq!(pod("web-frontend-x2vbz"), "shop/web-frontend/nginx", "a word is no hash");
    }

    #[test]
    fn nobody_is_learned_as_a_pod_because_he_says_so() {
        let place =
            Kubernetes { namespace: "shop".into(), pod: "web".into(), container: Some("nginx".into()) };
        let of_user = Workload::named(WorkloadKind::Container, format!("user-1000/{place}"));
        let of_user = Workload { kubernetes: Some(place), ..of_user };
        assert_eq!((&*subject(&of_user), project(&of_user)), ("user-1000/shop/web/nginx", None));
    }

    #[test]
    fn addresses_without_a_name_are_learned_by_network() {
        let key = |address: &str, scope| {
            peer(&Workload { scope: Some(scope), ..Workload::named(WorkloadKind::Outside, address) })
        };
        assert_eq!(key("203.0.113.7", Scope::Public), "outside 203.0.0.0/16");
        assert_eq!(key("192.168.7.9", Scope::Private), "outside 192.168.7.0/24");
        assert_eq!(key("2001:db8:1:2::3", Scope::Public), "outside 2001:db8:1::/48");
        assert_eq!(key("office", Scope::Public), "outside office");
    }
}
