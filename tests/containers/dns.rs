//! Peers outside have the names under which containers looked them up, with a real resolver beyond the host.

use std::{process::Child, time::Duration};

use cofferdam::event::{DnsAnswer, EventKind, Scope};
use cofferdam_tests::{
    Daemon, Node, Options, Outside, check,
    command::{run, wait_for},
    edge,
};

use crate::{alone, docker};

/// dnsmasq on the machine beyond; ended when dropped.
pub(crate) struct Resolver(Child);

impl Resolver {
    pub(crate) fn start(node: &Node, machine: &Outside) -> anyhow::Result<Self> {
        let line = "dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --pid-file= --no-resolv --no-hosts --local=/test/
            --listen-address=198.19.7.2 --bind-interfaces --host-record=api.example.test,198.19.7.4,300
            --host-record=edge.cdn.test,198.19.7.3,1 --cname=www.example.test,edge.cdn.test";
        let resolver = Self(machine.command(&line.split_whitespace().collect::<Vec<_>>()).spawn()?);
        wait_for("dnsmasq to answer", Duration::from_secs(10), || {
            let mut ask = node.command("busybox");
            run(ask.args(["timeout", "1", "nslookup", "api.example.test", "198.19.7.2"])).ok()
        })?;
        Ok(resolver)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The kernel of the machine beyond answers pings and refuses connections, without a socket of this host: to the
/// hooks it is outside.
#[test]
fn a_peer_outside_has_the_name_under_which_each_container_looked_it_up() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    docker.network("front", &[])?;
    let asks = Options::new().with(&["--dns", "198.19.7.2"]);
    // One asks Docker's resolver, one the resolver beyond itself, one nobody.
    let embedded = docker.container("embedded", &asks.clone().on("front"))?;
    let direct = docker.container("direct", &asks)?;
    let blind = docker.container("blind", &Options::new())?;
    let machine = Outside::plug_in(&node)?;
    for address in ["198.19.7.3/24", "198.19.7.4/24"] {
        machine.run(&["ip", "addr", "add", address, "dev", "eth0"])?;
    }
    let _resolver = Resolver::start(&node, &machine)?;
    let daemon = Daemon::start(&docker)?;
    let events = daemon.events()?;

    for container in [&embedded, &direct] {
        let made = container.connect("api.example.test:443 --count 3")?;
        assert_eq!((made.connections, made.failed), (0, 3), "nobody listens there");
        container.exec(&["ping", "-c", "2", "www.example.test"])?;
    }
    blind.exec(&["ping", "-c", "2", "198.19.7.3"])?;

    let mut expected = vec![
        edge("blind", "outside 198.19.7.3", "icmp").flows(1),
        edge("embedded", &docker.workload()?, "udp/53"),
        // Docker gives its questions another source on their way out, under which dnsmasq's socket is not joined to it.
        edge("direct", "outside 198.19.7.2", "udp/53"),
    ];
    for name in ["embedded", "direct"] {
        expected.push(edge(name, "outside api.example.test (198.19.7.4)", "tcp/443").refused(3));
        expected.push(edge(name, "outside www.example.test (198.19.7.3)", "icmp").flows(1));
    }
    let map = check(&daemon, &["embedded", "direct", "blind"], &expected)?;
    let scopes = map.iter().filter(|edge| edge.target.dns_name.is_some()).map(|edge| edge.target.scope);
    assert!(scopes.into_iter().all(|scope| scope == Some(Scope::Private)), "{map:?}");

    for (asker, resolver) in [("embedded", "127.0.0.11"), ("direct", "198.19.7.2")] {
        let told = |name: &'static str, address: &'static str| {
            events.wait_for(&format!("{asker} being told of {name}"), |event| match &event.kind {
                EventKind::DnsAnswer(DnsAnswer {
                    workload, resolver: by, name: asked, addresses, ..
                }) => {
                    workload.name == asker
                        && by.address.to_string() == resolver
                        && asked.as_deref() == Some(name)
                        && addresses.iter().map(ToString::to_string).eq([address])
                }
                _ => false,
            })
        };
        told("api.example.test", "198.19.7.4")?;
        told("www.example.test", "198.19.7.3")?;
    }
    assert!(daemon.metric("cofferdam_dns_answers_total", &[r#"outcome="learned""#])? >= 4);
    assert!(!daemon.metrics()?.contains("example.test"), "a DNS name has become a label");
    Ok(())
}
