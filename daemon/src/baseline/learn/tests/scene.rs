//! A shop of eight services: what they do for a week passes, and what they never did does not.

use super::*;

struct Scene {
    workloads: BTreeMap<&'static str, Arc<Workload>>,
}

impl Scene {
    fn new() -> Self {
        let services = ["proxy", "web", "api", "db", "cache", "queue", "worker", "backup"];
        let mut workloads: BTreeMap<_, _> = services.into_iter().map(|name| (name, service(name))).collect();
        workloads.extend([
            ("web2", replica("shop", "web", 2)),
            ("runner", replica("ci", "runner", 1)),
            ("pipelines", replica("ci", "web", 1)),
            ("stranger", named(WorkloadKind::Container, "stranger")),
            ("host", named(WorkloadKind::Host, "host")),
            ("docker", named(WorkloadKind::Unit, "docker.service")),
            ("cron", named(WorkloadKind::Unit, "cron.service")),
            ("client", outside("203.0.113.9", None)),
            ("payments", outside("198.51.100.7", Some("api.payments.example"))),
            ("store", outside("198.51.100.40", Some("eu.store.example"))),
            ("pool", outside("192.0.2.66", Some("pool.mine.example"))),
            ("metadata", outside("169.254.169.254", None)),
        ]);
        Self { workloads }
    }

    fn who(&self, name: &str) -> &Arc<Workload> {
        &self.workloads[name]
    }

    /// What the shop does: source, target, protocol, port.
    fn usual() -> Vec<(&'static str, &'static str, Protocol, u16)> {
        use Protocol::{Icmp, Tcp, Udp};
        let asks = ["proxy", "web", "api", "worker", "backup"].map(|name| (name, "docker", Udp, 53));
        let talks = [
            ("client", "proxy", Tcp, 443),
            ("docker", "proxy", Tcp, 80),
            ("proxy", "web", Tcp, 8_080),
            ("proxy", "web2", Tcp, 8_080),
            ("web", "api", Tcp, 9_000),
            ("web2", "api", Tcp, 9_000),
            ("api", "db", Tcp, 5_432),
            ("api", "cache", Tcp, 6_379),
            ("api", "queue", Tcp, 5_672),
            ("api", "payments", Tcp, 443),
            ("worker", "queue", Tcp, 5_672),
            ("worker", "db", Tcp, 5_432),
            ("worker", "cache", Tcp, 6_379),
            ("backup", "db", Tcp, 5_432),
            ("backup", "store", Tcp, 443),
            ("host", "proxy", Icmp, 0),
            ("cron", "api", Tcp, 9_000),
        ];
        asks.into_iter().chain(talks).collect()
    }

    fn learned(&self) -> Learned {
        let seen = |(source, target, protocol, port): (&str, &str, _, _)| {
            past(self.who(source), self.who(target), protocol, port)
        };
        learn(&Self::usual().into_iter().map(seen).collect::<Vec<_>>(), &options()).unwrap()
    }
}

#[test]
fn the_same_scene_runs_without_a_denial() {
    let scene = Scene::new();
    let learned = scene.learned();
    assert_eq!((learned.left_out.len(), learned.workloads, learned.rules), (0, 8, 16));
    assert_eq!(learned.flows, learned.explained);
    let mut plan = plan(&learned);
    for (source, target, protocol, port) in Scene::usual() {
        let verdict = verdict(&mut plan, scene.who(source), scene.who(target), protocol, port);
        assert_eq!(
            verdict,
            Verdict::Allow,
            "{source} -> {target} {}\n{}",
            protocol.service(port),
            learned.text
        );
    }
    // A replica that was never seen is one of the service.
    let third = replica("shop", "web", 3);
    assert_eq!(verdict(&mut plan, &third, scene.who("api"), Protocol::Tcp, 9_000), Verdict::Allow);
}

#[test]
fn each_foreign_interaction_is_denied() {
    use Protocol::{Icmp, Sctp, Tcp, Udp};
    let scene = Scene::new();
    let mut plan = plan(&scene.learned());
    let foreign = [
        // Lateral movement.
        ("proxy", "db", Tcp, 5_432),
        ("proxy", "cache", Tcp, 6_379),
        ("web", "db", Tcp, 5_432),
        ("web", "cache", Tcp, 6_379),
        ("web2", "queue", Tcp, 5_672),
        ("cache", "db", Tcp, 5_432),
        ("db", "api", Tcp, 9_000),
        ("queue", "worker", Tcp, 22),
        // Those who talk, at another port or over another protocol.
        ("api", "db", Tcp, 22),
        ("api", "db", Udp, 5_432),
        ("web", "api", Tcp, 9_001),
        ("web", "api", Sctp, 9_000),
        ("api", "cache", Icmp, 0),
        // The other way round.
        ("db", "worker", Tcp, 5_432),
        ("web", "proxy", Tcp, 80),
        // One replica to another.
        ("web", "web2", Tcp, 8_080),
        // From other projects, one with a service of the same name.
        ("runner", "db", Tcp, 5_432),
        ("pipelines", "api", Tcp, 9_000),
        ("stranger", "queue", Tcp, 5_672),
        // From the host and from outside, past the proxy.
        ("cron", "db", Tcp, 5_432),
        ("host", "cache", Tcp, 6_379),
        ("client", "db", Tcp, 5_432),
        // To the outside: a pool of miners, the cloud's metadata, a name that another may ask, a resolver of one's own choice.
        ("worker", "pool", Tcp, 3_333),
        ("api", "metadata", Tcp, 80),
        ("web", "payments", Tcp, 443),
        ("api", "payments", Tcp, 80),
        ("db", "docker", Udp, 53),
        ("cache", "store", Tcp, 443),
        ("worker", "pool", Udp, 53),
    ];
    assert!(foreign.len() >= 20);
    for (source, target, protocol, port) in foreign {
        let verdict = verdict(&mut plan, scene.who(source), scene.who(target), protocol, port);
        assert_eq!(verdict, Verdict::Deny, "{source} -> {target} {}", protocol.service(port));
    }
}
