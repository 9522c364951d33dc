//! How workloads and ports are called in labels: by identity, never by id, address or ephemeral port.

use std::{borrow::Cow, net::IpAddr};

use crate::event::{Kubernetes, Protocol, Runtime, Workload, WorkloadKind, is_random};

/// The series that takes what does not fit.
pub(super) const OTHER: &str = "other";
/// The port of a protocol that has none.
const NONE: &str = "none";
/// Containers whose name no runtime has told: by name they would be their ids.
pub(super) const UNNAMED: &str = "unnamed";
/// Runtimes of containers, as labels have them. Known beforehand, so that their counters begin at 0.
pub(super) const RUNTIMES: [&str; 6] = ["docker", "podman", "containerd", "crio", "systemd", "unknown"];

const HOST: &str = "host";
const OUTSIDE: &str = "outside";
const UNKNOWN: &str = "unknown";
const CANARY: &str = "canary";

/// From here on a port of a peer outside is taken for an ephemeral one (Linux' `ip_local_port_range`).
const FIRST_EPHEMERAL: u16 = 32_768;

/// The label of a workload.
pub(super) fn workload(workload: &Workload) -> Cow<'_, str> {
    match workload.kind {
        WorkloadKind::Outside if is_address(workload) => OUTSIDE.into(),
        WorkloadKind::Outside => format!("{OUTSIDE}:{}", workload.name).into(),
        WorkloadKind::Host => HOST.into(),
        WorkloadKind::Other => OTHER.into(),
        WorkloadKind::Unknown => UNKNOWN.into(),
        WorkloadKind::Container if has_no_name(workload) => UNNAMED.into(),
        WorkloadKind::Container if workload.kubernetes.is_some() => {
            workload.place().map_or_else(|| workload.name.clone(), in_cluster).into()
        }
        WorkloadKind::Container | WorkloadKind::Cgroup => told_apart("container", &workload.name),
        WorkloadKind::Canary => CANARY.into(),
        WorkloadKind::Unit => match workload.of_user() {
            Some((user, unit)) => {
                transient(unit).map_or(Cow::from(&workload.name), |unit| format!("user-{user}/{unit}").into())
            }
            None => transient(&workload.name).map_or_else(|| told_apart("unit", &workload.name), Cow::from),
        },
    }
}

/// The label of a port: the server's, or `other` where it is nobody's service.
pub(super) fn port(target: &Workload, protocol: Protocol, port: u16) -> Cow<'static, str> {
    let outside = target.kind == WorkloadKind::Outside;
    let folded = target.kind == WorkloadKind::Other || protocol == Protocol::Other;
    if port == 0 && !folded {
        return NONE.into();
    }
    if folded || (outside && port >= FIRST_EPHEMERAL) {
        return OTHER.into();
    }
    port.to_string().into()
}

/// The label of a runtime.
pub(super) fn runtime(runtime: Option<Runtime>) -> &'static str {
    runtime.map_or(UNKNOWN, Runtime::name)
}

/// Whether the container is called by the beginning of its id, because nobody told a name.
fn has_no_name(workload: &Workload) -> bool {
    let name = workload.of_user().map_or(&*workload.name, |(_, called)| called);
    let is_beginning = |id: &String| id.len() > name.len() && id.starts_with(name);
    name.len() >= 12 && workload.id.as_ref().is_some_and(is_beginning)
}

/// The name of a pod's container without what Kubernetes makes up anew for each replica: `shop/web/nginx` for
/// `shop/web-7d4b9c6f58-x2k4q/nginx`.
fn in_cluster(place: &Kubernetes) -> String {
    let mut pod = place.pod.as_str();
    if let Some((outer, suffix)) = pod.rsplit_once('-')
        && is_random(suffix, 5..=5)
    {
        pod = outer;
        if let Some((outer, hash)) = pod.rsplit_once('-')
            && is_random(hash, 8..=10)
        {
            pod = outer;
        }
    }
    Kubernetes { pod: pod.to_owned(), ..place.clone() }.to_string()
}

/// Whether a peer outside is called by its address, because no configuration names its network.
fn is_address(workload: &Workload) -> bool {
    workload.name.parse::<IpAddr>().is_ok()
}

/// Keeps a container that calls itself `host` apart from the host.
fn told_apart<'a>(kind: &str, name: &'a str) -> Cow<'a, str> {
    match name {
        _ if name.strip_prefix(OUTSIDE).is_some_and(|rest| rest.starts_with(':')) => {
            format!("{kind}:{name}").into()
        }
        HOST | OUTSIDE | OTHER | UNKNOWN | UNNAMED => format!("{kind}:{name}").into(),
        _ => name.into(),
    }
}

/// Units that systemd makes anew at each login or `systemd-run` count as one: `session-*.scope`.
fn transient(unit: &str) -> Option<String> {
    let (stem, kind) = unit.rsplit_once('.')?;
    let (head, _) = stem.split_once('-')?;
    (kind == "scope" || head == "run").then(|| format!("{head}-*.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::samples;

    fn unit(name: &str) -> Workload {
        Workload::named(WorkloadKind::Unit, name)
    }

    #[test]
    fn a_peer_outside_never_brings_its_address_into_a_label() {
        assert_eq!(workload(&Workload::named(WorkloadKind::Outside, "203.0.113.7")), "outside");
    }

    #[test]
    fn units_that_a_users_systemd_makes_anew_are_one() {
        let own = |name: &str| Workload { user: Some(1000), ..unit(name) };
        assert_eq!(workload(&own("user-1000/run-u12.service")), "user-1000/run-*.service");
        assert_eq!(workload(&own("user-1000/backup.service")), "user-1000/backup.service");
    }

    #[test]
    fn a_named_peer_outside_brings_its_name_and_nobody_else_can() {
        assert_eq!(workload(&Workload::named(WorkloadKind::Outside, "stripe")), "outside:stripe");
        let impostor = Workload::named(WorkloadKind::Container, "outside:stripe");
        assert_eq!(workload(&impostor), "container:outside:stripe");
    }

    #[test]
    fn a_container_without_a_name_never_brings_its_id_into_a_label() {
        let nameless = Workload { name: samples::WEB_ID[..12].to_owned(), ..(*samples::web()).clone() };
        assert_eq!(workload(&nameless), "unnamed");
        assert_eq!(workload(&samples::web()), "shop/web");
    }

    #[test]
    fn a_container_cannot_pass_itself_off_as_the_host() {
        assert_eq!(workload(&Workload::named(WorkloadKind::Container, "host")), "container:host");
        assert_eq!(workload(&Workload::host()), "host");
    }

    #[test]
    fn replicas_of_a_pod_are_one_label() {
        let label = |pod: &str| {
            let place =
                Kubernetes { namespace: "shop".into(), pod: pod.into(), container: Some("nginx".into()) };
            let container = Workload::named(WorkloadKind::Container, place.to_string());
            workload(&Workload { kubernetes: Some(place), ..container }).into_owned()
        };
        assert_eq!(label("web-7d4b9c6f58-x2k4q"), "shop/web/nginx");
        assert_eq!(label("agent-x2k4q"), "shop/agent/nginx");
        for pod in ["db-0", "web-front", "web"] {
            assert_eq!(label(pod), format!("shop/{pod}/nginx"));
        }
    }

    #[test]
    fn logins_do_not_make_new_labels() {
        assert_eq!(workload(&unit("session-12.scope")), "session-*.scope");
        assert_eq!(workload(&unit("run-r8e4f.service")), "run-*.service");
        assert_eq!(workload(&unit("init.scope")), "init.scope");
        assert_eq!(workload(&unit("systemd-resolved.service")), "systemd-resolved.service");
    }

    #[test]
    fn ports_are_the_servers_and_ephemeral_ones_of_peers_outside_are_folded() {
        let outside = Workload::named(WorkloadKind::Outside, "203.0.113.7");
        assert_eq!(port(&outside, Protocol::Tcp, 443), "443");
        assert_eq!(port(&outside, Protocol::Tcp, 32_768), "other");
        let web = samples::web();
        assert_eq!(port(&web, Protocol::Tcp, 40_000), "40000");
        assert_eq!(port(&web, Protocol::Icmp, 0), "none");
        assert_eq!(port(&web, Protocol::Other, 0), "other");
    }
}
