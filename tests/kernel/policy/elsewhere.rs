//! An address of the host that leads to another machine: who is there has no socket here, and is known by what was dialled.

use std::{
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    thread,
    time::Duration,
};

use cofferdam_common::{
    ids::CgroupId,
    network::{VERDICT_ALLOW, VERDICT_AUDIT, VERDICT_DENY},
    policy::{EGRESS, Identity, Interval, PairKey, Span, Subject, why},
};
use smoltcp::{
    iface::{Config, Interface, SocketSet},
    phy::{Medium, TunTapInterface, wait},
    socket::{tcp, udp},
    time::{Duration as Delay, Instant as At},
    wire::{HardwareAddress, IpCidr},
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{
    bridge::{ip, scene},
    judge::{DB, Judge, RULE, WEB, got, mapped, v4},
};
use crate::node::Cgroup;

/// The host's own, as the containers see it.
const HOSTS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// Of a network that rules name.
const NAMED: Identity = Identity(6);
/// Where nobody listens.
const CLOSED: u16 = 9_001;
const OPEN: u16 = 9_000;
/// Shorter than it takes until a SYN is sent again: whoever has not got an answer to his own would refuse another.
const PATIENCE: Duration = Duration::from_millis(700);
/// Connections that are not over on the other side.
const AT_ONCE: usize = 8;

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((HOSTS, port))
}

/// The other machine, where all arrives that is sent to [`HOSTS`]: it takes connections, and sends each datagram back.
struct Machine {
    device: TunTapInterface,
    interface: Interface,
}

impl Machine {
    fn start() -> Self {
        let mut device = TunTapInterface::new("elsewhere0", Medium::Ip).expect("a TUN device");
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut device, At::now());
        interface.update_ip_addrs(|all| all.push(IpCidr::new(HOSTS.into(), 32)).expect("there is room"));
        interface.routes_mut().add_default_ipv4_route(HOSTS).expect("there is room");
        Self { device, interface }
    }

    fn run(mut self, over: &AtomicBool) {
        let buffer = || tcp::SocketBuffer::new(vec![0; 1_000]);
        let packets = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 1_000]);
        let mut sockets = SocketSet::new(Vec::new());
        let listeners = [(); AT_ONCE].map(|()| sockets.add(tcp::Socket::new(buffer(), buffer())));
        let echo = sockets.add(udp::Socket::new(packets(), packets()));
        sockets.get_mut::<udp::Socket<'_>>(echo).bind(OPEN).expect("it binds");
        while !over.load(Ordering::Relaxed) {
            wait(self.device.as_raw_fd(), Some(Delay::from_millis(5))).expect("it waits");
            self.interface.poll(At::now(), &mut self.device, &mut sockets);
            for listener in listeners {
                let socket = sockets.get_mut::<tcp::Socket<'_>>(listener);
                if !socket.is_open() {
                    socket.listen(OPEN).expect("it listens");
                }
                if socket.may_send() && !socket.may_recv() {
                    socket.close();
                }
            }
            let socket = sockets.get_mut::<udp::Socket<'_>>(echo);
            let mut bytes = [0; 100];
            while let Ok((length, from)) = socket.recv_slice(&mut bytes) {
                socket.send_slice(&bytes[..length], from).expect("there is room");
            }
        }
    }
}

/// From here on `WEB` may send nowhere (or is told of) but to the named network, of which [`HOSTS`] is.
fn only_to_named(judge: &mut Judge<'_>, is_named: bool, otherwise: u8) {
    let maps = &mut judge.node.loaded.policy;
    let slot = maps.next_slot();
    maps.clear(slot).expect("a slot");
    let not = Interval { first: 0, rule: RULE, verdict: otherwise, why: why::NOT_ALLOWED, padding: 0 };
    let allowed = Interval { verdict: VERDICT_ALLOW, why: why::RULE, ..not };
    maps.set_intervals(slot, 0, &[not, allowed]).expect("intervals");
    let key = PairKey { subject: WEB, peer: NAMED, direction: EGRESS, slot, padding: 0 };
    maps.set_pair(key, Span { start: 1, length: 1 }).expect("a pair");
    let web = Subject { any: [Span { start: 0, length: 1 }, Span::default()], pairs: [1, 0] };
    maps.set_subject(slot, WEB, web).expect("a subject");
    for other in [Identity::UNRESOLVED, Identity::NOBODY, DB, NAMED] {
        maps.set_subject(slot, other, Subject::default()).expect("a subject");
    }
    if is_named {
        maps.set_network(slot, "203.0.113.0/24".parse().expect("a network"), NAMED).expect("a network");
    }
    maps.activate().expect("a generation");
}

/// Who tries it.
struct Client<'a> {
    container: &'a super::bridge::Container,
    cgroup: &'a Cgroup,
}

impl Client<'_> {
    fn connects(&self, port: u16) -> Result<(), ErrorKind> {
        let connect = move || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.connect_timeout(&SockAddr::from(at(port)), PATIENCE).map_err(|error| error.kind())
        };
        self.cgroup.enter(|| self.container.does(connect))
    }

    fn is_answered(&self, socket: &UdpSocket) -> bool {
        // Told or not that it may not.
        let _ = socket.send_to(&[0; 10], at(OPEN));
        got(socket).is_some()
    }
}

fn played(act: impl FnOnce(&mut Judge<'_>, &Client<'_>)) {
    scene(|judge, [(web, cgroup), (_, db_cgroup), (_, api_cgroup)]| {
        ip("addr add 198.18.0.254/24 dev bridge0");
        ip("tuntap add mode tun name elsewhere0");
        ip("link set elsewhere0 up");
        ip(&format!("route add {HOSTS}/32 dev elsewhere0"));
        for (setting, value) in
            [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/elsewhere0/rp_filter", "0")]
        {
            fs::write(format!("/proc/sys/net/ipv4/{setting}"), value).expect("a setting");
        }
        web.does(|| ip(&format!("route add {HOSTS}/32 via 198.18.0.254")));
        let owners = [(v4(1, 0), cgroup.id), (v4(2, 0), db_cgroup.id), (v4(3, 0), api_cgroup.id)];
        let owners = owners.into_iter().chain([(at(0), CgroupId::ROOT)]);
        let owners = owners.map(|(address, owner)| (mapped(address), owner)).collect();
        judge.node.loaded.policy.set_addresses(&owners).expect("addresses");
        let over = AtomicBool::new(false);
        let (starts, started) = channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let machine = Machine::start();
                starts.send(()).expect("it is waited for");
                machine.run(&over);
            });
            started.recv().expect("it starts");
            let _over = Over(&over);
            act(judge, &Client { container: web, cgroup });
        });
    });
}

/// The machine ends with what is done with it, also when that fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_connection_to_an_address_of_the_host_that_leads_elsewhere_is_judged_by_what_was_dialled() {
    played(|judge, client| {
        only_to_named(judge, false, VERDICT_ALLOW);
        assert_eq!(client.connects(OPEN), Ok(()), "there is a way");
        only_to_named(judge, false, VERDICT_DENY);
        assert_eq!(client.connects(OPEN), Err(ErrorKind::TimedOut));
        let told = judge.verdict(OPEN);
        assert_eq!((told.source, told.target_address), (client.cgroup.id, mapped(at(0))));
        assert_eq!((told.judgement.rule, told.judgement.direction), (RULE, EGRESS));
        assert_eq!(
            client.connects(CLOSED),
            Err(ErrorKind::ConnectionRefused),
            "that nobody is there is said"
        );
        only_to_named(judge, true, VERDICT_DENY);
        assert_eq!(client.connects(OPEN), Ok(()), "the network is allowed");
        only_to_named(judge, false, VERDICT_AUDIT);
        assert_eq!(client.connects(OPEN), Ok(()));
        let told = judge.node.record(|record| match record {
            cofferdam::sensor::record::Record::Verdict(verdict)
                if verdict.judgement.verdict == VERDICT_AUDIT =>
            {
                Some(**verdict)
            }
            _ => None,
        });
        assert_eq!((told.source, told.port), (client.cgroup.id, OPEN));
    });
}

#[test]
fn what_comes_back_from_where_an_address_of_the_host_leads_is_judged_by_what_was_dialled() {
    played(|judge, client| {
        let socket = client.container.receiver(client.cgroup, v4(1, 4_000));
        only_to_named(judge, false, VERDICT_ALLOW);
        assert!(client.is_answered(&socket), "there is a way");
        only_to_named(judge, false, VERDICT_DENY);
        for _ in 0..3 {
            assert!(!client.is_answered(&socket), "also of what has begun while it was allowed");
        }
        let another = client.container.receiver(client.cgroup, v4(1, 4_001));
        assert!(!client.is_answered(&another));
        assert_eq!(judge.verdict(OPEN).source, client.cgroup.id);
        only_to_named(judge, true, VERDICT_DENY);
        assert!(client.is_answered(&socket) && client.is_answered(&another), "the network is allowed");
    });
}
