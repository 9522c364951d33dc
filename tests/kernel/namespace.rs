//! Loopback addresses exist in every network namespace: flows there must not be mistaken for one another.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    thread,
};

use nix::sched::{CloneFlags, unshare};

use crate::node::Node;

/// Does something in a network namespace of its own, whose loopback interface has these addresses besides its own.
pub(crate) fn in_namespace<T: Send>(addresses: &[&str], act: impl FnOnce() -> T + Send) -> T {
    let ip = |arguments: &[&str]| {
        assert!(Command::new("ip").args(arguments).status().expect("ip runs").success(), "{arguments:?}");
    };
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            ip(&["link", "set", "lo", "up"]);
            addresses.iter().for_each(|address| ip(&["addr", "add", address, "dev", "lo"]));
            act()
        });
        thread.join().expect("it ends well")
    })
}

#[test]
fn the_same_loopback_ports_in_two_namespaces_are_two_flows() {
    let node = Node::start();
    let (client, server) = (node.cgroup(), node.cgroup());
    let (other_client, other_server) = (node.cgroup(), node.cgroup());
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_001));
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_002));
    for (client, server) in [(&client, &server), (&other_client, &other_server)] {
        in_namespace(&[], || {
            let receiver = server.enter(|| UdpSocket::bind(to).expect("it binds"));
            let sender = client.enter(|| UdpSocket::bind(from).expect("it binds"));
            sender.send_to(&[0; 10], to).expect("it sends");
            receiver.recv(&mut [0; 20]).expect("it arrives");
        });
    }
    for (client, server) in [(&client, &server), (&other_client, &other_server)] {
        let (key, row) = node.row_from(client, |row| row.flows == 1);
        assert_eq!((key.target.cgroup, row.volume.bytes_sent), (server.id, 10));
    }
}
