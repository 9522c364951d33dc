//! Who plays: the same in all scenes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cofferdam::event::{Kubernetes, Runtime, Workload, WorkloadKind};

/// The image of all containers but one.
pub const IMAGE: &str = "cofferdam-test:latest";
/// The image of that one.
pub const OTHER_IMAGE: &str = "registry.example/cache:7";

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD: &str = "io.kubernetes.pod.name";
const POD_CONTAINER: &str = "io.kubernetes.container.name";

/// One who plays.
#[derive(Debug)]
pub struct Member {
    /// What the map calls him, and scenes and policies as well.
    pub name: &'static str,
    /// Where he is.
    pub place: Place,
    /// What image he runs, if he is a container.
    pub image: &'static str,
    /// His labels, if he is a container.
    pub labels: &'static [(&'static str, &'static str)],
}

/// Where somebody is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// In a container on these networks.
    Networks(&'static [&'static str]),
    /// In a container on the host's network.
    Hosts,
    /// In a systemd unit.
    Unit,
    /// On the host itself.
    Host,
    /// Beyond the host, at this address.
    Outside(IpAddr),
}

/// The networks.
pub const NETWORKS: [&str; 2] = ["shop", "back"];

/// All who play.
pub const CAST: &[Member] = &[
    Member {
        name: "shop/web",
        place: Place::Networks(&["shop"]),
        image: IMAGE,
        labels: &[(PROJECT, "shop"), (SERVICE, "web"), ("tier", "front")],
    },
    Member {
        name: "shop/api",
        place: Place::Networks(&["shop", "back"]),
        image: IMAGE,
        labels: &[(PROJECT, "shop"), (SERVICE, "api"), ("tier", "middle"), ("team", "core")],
    },
    Member {
        name: "shop/db",
        place: Place::Networks(&["shop"]),
        image: IMAGE,
        labels: &[(PROJECT, "shop"), (SERVICE, "db"), ("tier", "data"), ("team", "core")],
    },
    Member {
        name: "ci/runner",
        place: Place::Networks(&["shop"]),
        image: IMAGE,
        labels: &[(PROJECT, "ci"), (SERVICE, "runner"), ("tier", "front")],
    },
    Member {
        name: "monitoring/prometheus-0/prometheus",
        place: Place::Networks(&["shop"]),
        image: IMAGE,
        labels: &[(NAMESPACE, "monitoring"), (POD, "prometheus-0"), (POD_CONTAINER, "prometheus")],
    },
    Member { name: "cache", place: Place::Networks(&["back"]), image: OTHER_IMAGE, labels: &[] },
    Member { name: "agent", place: Place::Hosts, image: IMAGE, labels: &[("metrics", "on")] },
    Member { name: "billing.service", place: Place::Unit, image: "", labels: &[] },
    Member { name: "systemd-resolved.service", place: Place::Unit, image: "", labels: &[] },
    Member { name: "host", place: Place::Host, image: "", labels: &[] },
    outside("203.0.113.5", IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5))),
    outside("203.0.113.9", IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9))),
    outside("198.51.100.7", IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7))),
    outside("169.254.169.254", IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254))),
    outside("2001:db8::5", IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5))),
    outside("2001:db8::9", IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9))),
];

/// A port of a container that is published on the host: whose, by which protocol and port, and as which.
pub const PUBLISHED: [(&str, &str, u16); 2] =
    [("shop/web", "tcp/80", 18_080), ("shop/web", "udp/53", 10_053)];

/// What everybody serves.
pub const SERVED: &str = "tcp/80,tcp/443,tcp/5432,tcp/8080,tcp/9100,udp/53,udp/8125";
/// What everybody here serves as well. A stack outside does not know it.
pub const SERVED_HERE: &str = "udplite/8125,ip/253";

const fn outside(name: &'static str, address: IpAddr) -> Member {
    Member { name, place: Place::Outside(address), image: "", labels: &[] }
}

/// The member of that name.
#[must_use]
pub fn member(name: &str) -> Option<&'static Member> {
    CAST.iter().find(|member| member.name == name)
}

impl Member {
    /// The name of its container.
    #[must_use]
    pub fn container_name(&self) -> &'static str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }

    /// Whether it is a container.
    #[must_use]
    pub fn is_container(&self) -> bool {
        matches!(self.place, Place::Networks(_) | Place::Hosts)
    }

    /// Whether its sockets are in the host's network.
    #[must_use]
    pub fn is_on_host(&self) -> bool {
        matches!(self.place, Place::Hosts | Place::Unit | Place::Host)
    }

    /// As the daemon knows it.
    #[must_use]
    pub fn workload(&self) -> Workload {
        let label =
            |key| self.labels.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        let plain = |kind| Workload::named(kind, self.name);
        match self.place {
            Place::Networks(_) | Place::Hosts => Workload {
                runtime: Some(Runtime::Docker),
                image: Some(self.image.to_owned()),
                container_name: Some(self.container_name().to_owned()),
                project: label(PROJECT),
                service: label(SERVICE),
                kubernetes: label(NAMESPACE).zip(label(POD)).map(|(namespace, pod)| Kubernetes {
                    namespace,
                    pod,
                    container: label(POD_CONTAINER),
                }),
                labels: self
                    .labels
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
                ..plain(WorkloadKind::Container)
            },
            Place::Unit => Workload { runtime: Some(Runtime::Systemd), ..plain(WorkloadKind::Unit) },
            Place::Host => Workload::host(),
            Place::Outside(_) => plain(WorkloadKind::Outside),
        }
    }
}
