//! Containers on a bridge, as Docker makes them, whose links are covered.

use std::{
    fs::File,
    net::{SocketAddr, UdpSocket},
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, Scope},
};

use cofferdam_common::{network::VERDICT_DENY, policy::Identity};
use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::gettid,
};
use smoltcp::{
    phy::{ChecksumCapabilities, Device as _, Medium, RawSocket, TxToken as _},
    time::Instant as At,
    wire::{
        EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, IpRepr, IpVersion, UdpPacket, UdpRepr,
    },
};

use super::judge::{DB, Judge, WEB, v4, v6};
use crate::node::{Cgroup, Node};

/// Who may, besides `WEB` and `DB`.
pub(super) const API: Identity = Identity(6);
/// Bytes of a payload.
pub(super) const SIZE: usize = 100;

type Task = Box<dyn FnOnce() + Send>;

/// A network namespace with one link to a bridge on the "host", as Docker makes them.
pub(super) struct Container {
    pub(super) tasks: Sender<Task>,
    last: u8,
}

impl Container {
    /// Joins 198.18.0.`last` and fd00:c0ff:d::`last` to the bridge of the namespace that this is called in.
    pub(super) fn start<'scope>(scope: &'scope Scope<'scope, '_>, last: u8) -> Self {
        let (tasks, inbox): (Sender<Task>, Receiver<Task>) = channel();
        let (started, number) = channel();
        scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            started.send(gettid()).expect("it is waited for");
            inbox.into_iter().for_each(|task| task());
        });
        let thread = number.recv().expect("it starts");
        ip(&format!("link add veth{last} type veth peer name eth0 netns {thread}"));
        ip(&format!("link set veth{last} master bridge0 up"));
        let container = Self { tasks, last };
        container.does(move || {
            ip("link set lo up");
            ip(&format!("link set eth0 address 02:00:00:00:00:{last:02}"));
            ip(&format!("addr add 198.18.0.{last}/24 dev eth0"));
            ip(&format!("addr add fd00:c0ff:d::{last}/64 dev eth0 nodad"));
            ip("link set eth0 up");
        });
        container
    }

    /// Does something within.
    pub(super) fn does<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let task = move || {
            let _ = done.send(act());
        };
        self.tasks.send(Box::new(task)).expect("it lives");
        result.recv().expect("it is done")
    }

    /// The host's end of its link.
    pub(super) fn link(&self) -> String {
        format!("veth{}", self.last)
    }

    pub(super) fn at(&self, is_v6: bool) -> SocketAddr {
        if is_v6 { v6(self.last.into(), 4_000) } else { v4(self.last, 4_000) }
    }

    /// A socket that packets arrive at.
    pub(super) fn receiver(&self, cgroup: &Cgroup, at: SocketAddr) -> UdpSocket {
        cgroup.enter(|| self.does(move || UdpSocket::bind(at).expect("it binds")))
    }

    /// Sends a frame past the IP stack, as a process of `cgroup`.
    pub(super) fn sends(&self, cgroup: &Cgroup, frame: Vec<u8>) {
        self.sends_at("eth0", cgroup, frame);
    }

    pub(super) fn sends_at(&self, interface: &'static str, cgroup: &Cgroup, frame: Vec<u8>) {
        let send = move || {
            let mut raw = RawSocket::new(interface, Medium::Ethernet).expect("a packet socket");
            let token = raw.transmit(At::now()).expect("there is room");
            token.consume(frame.len(), |buffer| buffer.copy_from_slice(&frame));
        };
        cgroup.enter(|| self.does(send));
    }
}

/// This thread is in a network namespace of its own until it is dropped.
pub(super) struct Away(File);

impl Away {
    pub(super) fn from_here() -> Self {
        let here = File::open("/proc/thread-self/ns/net").expect("a namespace");
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        Self(here)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).expect("the way back");
    }
}

pub(super) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

pub(super) fn hardware(last: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, last])
}

/// A frame from container to container, with whatever addresses in its IP header.
pub(super) fn frame((from, to): (&Container, &Container), source: SocketAddr, target: SocketAddr) -> Vec<u8> {
    framed((from, to), &packet(source, target))
}

/// An IP packet as a frame from container to container.
pub(super) fn framed((from, to): (&Container, &Container), packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14];
    let mut ethernet = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.set_src_addr(hardware(from.last));
    ethernet.set_dst_addr(hardware(to.last));
    ethernet.set_ethertype(match IpVersion::of_packet(packet).expect("an IP packet") {
        IpVersion::Ipv4 => EthernetProtocol::Ipv4,
        IpVersion::Ipv6 => EthernetProtocol::Ipv6,
    });
    bytes.extend(packet);
    bytes
}

/// A datagram of UDP with [`SIZE`] bytes.
pub(super) fn packet(source: SocketAddr, target: SocketAddr) -> Vec<u8> {
    datagram(source, target, &[7; SIZE])
}

/// A datagram of UDP.
pub(super) fn datagram(source: SocketAddr, target: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let udp = UdpRepr { src_port: source.port(), dst_port: target.port() };
    let length = udp.header_len() + payload.len();
    let (source, target) = (source.ip().into(), target.ip().into());
    let ip = IpRepr::new(source, target, IpProtocol::Udp, length, 64);
    let mut bytes = vec![0; ip.buffer_len()];
    let checksums = ChecksumCapabilities::default();
    ip.emit(&mut bytes[..], &checksums);
    let mut packet = UdpPacket::new_unchecked(&mut bytes[ip.header_len()..]);
    let fill = |bytes: &mut [u8]| bytes.copy_from_slice(payload);
    udp.emit(&mut packet, &source, &target, payload.len(), fill, &checksums);
    bytes
}

/// Three containers on a bridge, whose links are covered; `web` may not send to `db`.
pub(super) fn scene(act: impl FnOnce(&mut Judge<'_>, [(&Container, &Cgroup); 3])) {
    stage(true, act);
}

/// The same, where no link is covered.
pub(super) fn without_links(act: impl FnOnce(&mut Judge<'_>, [(&Container, &Cgroup); 3])) {
    stage(false, act);
}

fn stage(covers: bool, act: impl FnOnce(&mut Judge<'_>, [(&Container, &Cgroup); 3])) {
    let mut node = Node::start();
    let (web, db, api) = (node.cgroup(), node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    judge.place(&api, API, false);
    if !covers {
        for (cgroup, identity) in [(&web, WEB), (&db, DB), (&api, API)] {
            judge.place_without_link(cgroup, identity);
        }
    }
    judge.address(&[
        (v4(1, 0), &web),
        (v6(1, 0), &web),
        (v4(2, 0), &db),
        (v6(2, 0), &db),
        (v4(3, 0), &api),
        (v6(3, 0), &api),
    ]);
    judge.says(Some(WEB), VERDICT_DENY);
    let _host = Away::from_here();
    ip("link add bridge0 type bridge");
    ip("link set bridge0 up");
    thread::scope(|scope| {
        let containers = [1, 2, 3].map(|last| Container::start(scope, last));
        for (container, cgroup) in containers.iter().zip([&web, &db, &api]).filter(|_| covers) {
            judge.covers(&container.link(), cgroup.id);
        }
        let [one, two, three] = &containers;
        act(&mut judge, [(one, &web), (two, &db), (three, &api)]);
    });
}
