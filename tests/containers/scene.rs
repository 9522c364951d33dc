//! Six containers, two networks, a published port, the host's network; TCP, UDP, IPv4, IPv6, DNS.

use cofferdam::{event::Runtime, event::WorkloadKind, interaction::Edge};
use cofferdam_tests::{Container, Daemon, Docker, Node, Options, check, connect_from, edge};

use crate::{alone, docker};

const NAMES: [&str; 6] = ["probe", "web", "api", "db", "cache", "agent"];

/// The containers, and the addresses of the host on their networks.
pub(crate) struct Scene {
    pub(crate) probe: Container,
    pub(crate) web: Container,
    api: Container,
    db: Container,
    cache: Container,
    agent: Container,
    host_on_front: String,
    host_on_back: String,
}

impl Scene {
    pub(crate) fn set(docker: &Docker) -> anyhow::Result<Self> {
        docker.network("front", &["--ipv6", "--subnet", "fd00:c0ff:1::/64"])?;
        docker.network("back", &["--ipv6", "--subnet", "fd00:c0ff:2::/64"])?;
        let front = Options::new().on("front");
        let back = Options::new().on("back");
        let scene = Self {
            probe: docker.container("probe", &front)?,
            web: docker.container("web", &front.clone().with(&["--publish", "8080:80"]).tcp("80"))?,
            api: docker.container("api", &front.tcp("8000"))?,
            db: docker.container("db", &back.clone().tcp("5432"))?,
            cache: docker.container("cache", &back.tcp("0.0.0.0:6379").udp("11211"))?,
            agent: docker.container("agent", &Options::new().on("host").tcp("9100").udp("8125"))?,
            host_on_front: docker.gateway("front")?.to_string(),
            host_on_back: docker.gateway("back")?.to_string(),
        };
        docker.join("back", &scene.api)?;
        Ok(scene)
    }
}

/// What is done, and what the map must say of it.
fn play(scene: &Scene, node: &Node, host: &str) -> anyhow::Result<Vec<cofferdam_tests::edges::Expected>> {
    let Scene { probe, web, api, db, cache, agent, host_on_front, host_on_back } = scene;
    let (web4, web6) = (web.address("front")?, web.address6("front")?);
    let (api4, api6) = (api.address("front")?, api.address6("front")?);
    let (db4, db6) = (db.address("back")?, db.address6("back")?);
    let (cache4, cache6) = (cache.address("back")?, cache.address6("back")?);
    let mut expected = Vec::new();

    // Within a network: IPv4, IPv6, and IPv4 at a server that listens on IPv6; both protocols; a reset.
    let done = probe.connect(&format!("{web4}:80 --count 5 --send 100 --receive 3000"))?
        + probe.connect(&format!("[{web6}]:80 --count 2 --send 10 --receive 20"))?;
    expected.push(edge("probe", "web", "tcp/80").counted(done));
    let done =
        web.connect(&format!("{api4}:8000 --count 3"))? + web.connect(&format!("[{api6}]:8000 --count 4"))?;
    expected.push(edge("web", "api", "tcp/8000").counted(done));
    let done = api.connect(&format!("[{db6}]:5432 --count 6 --send 50 --receive 100000"))?;
    expected.push(edge("api", "db", "tcp/5432").counted(done));
    let done = api.connect(&format!("{cache4}:6379 --count 4 --parallel 2 --reset"))?;
    expected.push(edge("api", "cache", "tcp/6379").counted(done));
    let done = api.connect(&format!("{cache4}:11211 --udp --count 10 --send 20 --receive 500"))?
        + api.connect(&format!("[{cache6}]:11211 --udp --count 3 --send 20 --receive 1000"))?;
    expected.push(edge("api", "cache", "udp/11211").counted(done));

    // To itself: no edge, though two containers use the same addresses and ports at the same time.
    web.connect("127.0.0.1:80 --count 2 --source-port 40000")?;
    api.connect("127.0.0.1:8000,[::1]:8000 --count 2")?;

    // From and to the container on the host's network.
    let done = agent.connect(&format!("{web4}:80 --count 2"))?;
    expected.push(edge("agent", "web", "tcp/80").counted(done));
    let done = probe.connect(&format!("{host_on_front}:9100 --count 3"))?;
    expected.push(edge("probe", "agent", "tcp/9100").counted(done));
    let done = api.connect(&format!("{host_on_back}:8125 --udp --count 5"))?;
    expected.push(edge("api", "agent", "udp/8125").counted(done));
    agent.connect("127.0.0.1:9100")?;

    // Through the published port: the host through Docker's proxy and through DNAT, a neighbour through the proxy.
    let by_proxy = connect_from(node, "127.0.0.1:8080 --count 4 --send 1000 --receive 2000")?;
    let by_translation = connect_from(node, &format!("{host_on_back}:8080 --count 3"))?;
    let neighbour = probe.connect(&format!("{host_on_front}:8080 --count 2"))?;
    expected.push(edge("probe", "web", "tcp/80 via docker-proxy").counted(neighbour));
    expected.push(edge(host, "web", "tcp/80").counted(by_proxy + by_translation));

    // Attempts that come to nothing: no such port, networks that Docker keeps apart, nobody there.
    api.connect(&format!("{cache4}:6400 --count 2"))?;
    expected.push(edge("api", "cache", "tcp/6400").refused(2));
    probe.connect(&format!("{db4}:5432 --timeout 1200"))?;
    expected.push(edge("probe", "db", "tcp/5432").refused(1));
    probe.connect("198.19.255.1:443 --timeout 1200")?;
    expected.push(edge("probe", "outside 198.19.255.1", "tcp/443").refused(1));
    let done = probe.connect("198.19.255.1:9999 --udp --send 30 --receive 0")?;
    expected.push(edge("probe", "outside 198.19.255.1", "udp/9999").counted(done));

    // Docker's DNS answers in the container's own namespace, from a socket of dockerd.
    probe.exec(&["nslookup", "web", "127.0.0.11"])?;
    expected.push(edge("probe", host, "udp/53"));
    Ok(expected)
}

#[test]
fn the_map_shows_exactly_who_talked_to_whom() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let scene = Scene::set(&docker)?;
    let daemon = Daemon::start(&docker)?;
    let expected = play(&scene, &node, &docker.workload()?)?;
    let map = check(&daemon, &NAMES, &expected)?;
    for edge in &map {
        for (workload, container) in [&edge.source, &edge.target].into_iter().filter_map(|workload| {
            let all = [&scene.probe, &scene.web, &scene.api, &scene.db, &scene.cache, &scene.agent];
            Some((workload, *all.iter().find(|container| container.name() == workload.name)?))
        }) {
            assert_eq!(workload.id.as_deref(), Some(container.id()), "{}", workload.name);
            assert_eq!(workload.image.as_deref(), Some(docker.image()), "{}", workload.name);
            assert_eq!(workload.runtime, Some(Runtime::Docker), "{}", workload.name);
        }
    }
    assert_nothing_unknown(&map);
    assert_eq!(daemon.status()?["unattributed"], 0, "of some cgroup nothing could be learned");
    Ok(())
}

fn assert_nothing_unknown(map: &[Edge]) {
    let unknown = map.iter().filter(|edge| {
        [&edge.source, &edge.target]
            .iter()
            .any(|w| matches!(w.kind, WorkloadKind::Unknown | WorkloadKind::Other))
    });
    let names: Vec<_> = unknown.map(cofferdam_tests::edges::name).collect();
    assert!(names.is_empty(), "unattributed: {names:?}");
}
