//! Who shares something with others: a network, an address that was another's, a cgroup.

use std::{
    io,
    mem::MaybeUninit,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::Duration,
};

use socket2::{Protocol, Socket};

use super::{
    Prepared, SOON, Scene, Version, Way, enough,
    server::{PAYLOAD, PORT},
    sockets::{connect, datagrams, greet, to},
};
use crate::policy::{
    bridge::{Container, ip},
    judge::{v4, v6},
};

/// A target that has not got the first datagram is taken for outside with the next one this much later (ebpf/src/flow.rs).
const OUTSIDE_AFTER: Duration = Duration::from_millis(150);

pub(super) const WAYS: &[Way] = &[
    Way::new("TCP over the loopback of a shared network", |scene, version| {
        beside(scene, loopback(version), Protocol::TCP)
    }),
    Way::new("UDP over the loopback of a shared network", |scene, version| {
        beside(scene, loopback(version), Protocol::UDP)
    }),
    Way::new("TCP to the address of a shared network", |scene, version| {
        beside(scene, to(scene, version), Protocol::TCP)
    }),
    Way::new("UDP to the address of a shared network", |scene, version| {
        beside(scene, to(scene, version), Protocol::UDP)
    }),
    Way::new("UDP from the port of one who may and has left", |scene, version| {
        from_left_port(scene, version, Protocol::UDP)
    }),
    Way::new("TCP from the port of one who may and has left", |scene, version| {
        from_left_port(scene, version, Protocol::TCP)
    }),
    Way::new("UDP as the answer of one who may and has left", as_answer),
    Way::new("UDP as the answer of one who was not there", as_nobodys_answer),
    Way::new("UDP of a socket that had sent there before anybody was there", early),
    Way::new("UDP with the address of one who may and has left", |scene, version| {
        with_left_address(scene, version, Protocol::UDP)
    }),
    Way::new("TCP with the address of one who may and has left", |scene, version| {
        with_left_address(scene, version, Protocol::TCP)
    }),
    Way::new("a socket that is taken along to the cgroup of one who may", moved),
    Way {
        source: |scene| scene.nested,
        ..Way::new("UDP from a cgroup inside", |scene, version| inside(scene, version, Protocol::UDP))
    },
    Way {
        source: |scene| scene.nested,
        ..Way::new("TCP from a cgroup inside", |scene, version| inside(scene, version, Protocol::TCP))
    },
];

pub(super) fn loopback(version: Version) -> SocketAddr {
    match version {
        Version::V4 => SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
        Version::V6 => SocketAddr::from((Ipv6Addr::LOCALHOST, PORT)),
    }
}

/// Sends by whatever protocol, whether it is told that it may not or not.
fn send(protocol: Protocol, from: Option<SocketAddr>, to: SocketAddr, patience: Duration) {
    let _ = if protocol == Protocol::TCP {
        connect(protocol, from, to, patience).and_then(greet)
    } else {
        datagram(from, to, &PAYLOAD)
    };
}

fn datagram(from: Option<SocketAddr>, to: SocketAddr, payload: &[u8]) -> io::Result<Socket> {
    let socket = datagrams(to, Protocol::UDP)?;
    if let Some(from) = from {
        socket.bind(&from.into())?;
    }
    socket.send_to(payload, &to.into())?;
    Ok(socket)
}

/// As a process of `web` in the network of `db`, as in a pod, or where both use the host's.
fn beside<'a>(scene: &'a Scene<'a>, to: SocketAddr, protocol: Protocol) -> Prepared<'a> {
    Prepared::ready(move || {
        let patience = scene.patience.get();
        scene.web_cgroup.enter(|| scene.db.does(move || send(protocol, None, to, patience)));
    })
}

/// `api`, which may, has just used the same port in the same network. The server does not count what it says.
fn from_left_port<'a>(scene: &'a Scene<'a>, version: Version, protocol: Protocol) -> Prepared<'a> {
    let to = loopback(version);
    let mut port = if protocol == Protocol::TCP { 20_000 } else { 21_000 };
    Prepared::ready(move || {
        port += 1;
        let (from, patience) = (SocketAddr::new(to.ip(), port), scene.patience.get());
        scene.api_cgroup.enter(|| {
            scene.db.does(move || {
                if protocol == Protocol::TCP {
                    let stream = connect(protocol, Some(from), to, SOON).expect("it may");
                    // Its port is free at once.
                    stream.set_linger(Some(Duration::ZERO)).expect("a setting");
                } else {
                    datagram(Some(from), to, &[1; 9]).expect("it may");
                }
            });
        });
        scene.web_cgroup.enter(|| scene.db.does(move || send(protocol, Some(from), to, patience)));
    })
}

/// The server itself has begun to talk to `api`, which may answer, and whose port is free now.
fn as_answer<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let to = loopback(version);
    let mut port = 22_000;
    Prepared::ready(move || {
        port += 1;
        let (left, patience) = (SocketAddr::new(to.ip(), port), scene.patience.get());
        let bind = move || {
            let socket = datagrams(left, Protocol::UDP)?;
            socket.bind(&left.into()).map(|()| socket)
        };
        let asked = scene.api_cgroup.enter(|| scene.db.does(bind)).expect("a socket");
        asked.set_read_timeout(Some(SOON)).expect("a limit");
        scene.server.asks(left);
        // Else it might still come, to whoever has the port then.
        asked.recv(&mut [MaybeUninit::uninit(); 9]).expect("it is asked");
        drop(asked);
        scene.web_cgroup.enter(|| scene.db.does(move || send(Protocol::UDP, Some(left), to, patience)));
    })
}

/// Another address of the server's network, of which nobody but the kernel knows, while this is not dropped.
struct Spare<'a> {
    scene: &'a Scene<'a>,
    address: SocketAddr,
}

impl<'a> Spare<'a> {
    fn new(scene: &'a Scene<'a>, address: SocketAddr) -> Self {
        let spare = Self { scene, address };
        spare.is("add");
        spare
    }

    fn at(&self) -> SocketAddr {
        self.address
    }

    fn is(&self, there: &str) {
        let suffix = if self.address.is_ipv4() { "/32" } else { "/128 nodad" };
        let change = format!("addr {there} {}{suffix} dev eth0", self.address.ip());
        self.scene.db.does(move || ip(&change));
    }

    /// The server asks somebody from here, beside its socket that takes answers.
    fn asks(&self, whom: SocketAddr) {
        let from = self.address;
        let ask = move || {
            let socket = datagrams(from, Protocol::UDP)?;
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
            socket.send_to(b"?", &whom.into())
        };
        self.scene.db_cgroup.enter(|| self.scene.db.does(ask)).expect("it may");
    }
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        self.is("del");
    }
}

/// Nobody had the address that becomes the server's: a flow to the outside, for all that was known.
fn early<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let at = if version == Version::V4 { v4(77, PORT) } else { v6(77, PORT) };
    let open = move || (0..enough()).map(|_| datagrams(at, Protocol::UDP)).collect::<io::Result<Vec<_>>>();
    let mut sockets = scene.as_web(open).expect("sockets");
    for _ in 0..2 {
        for socket in &sockets {
            // Told or not that nobody is there.
            let _ = socket.send_to(b"?", &at.into());
        }
        thread::sleep(OUTSIDE_AFTER);
    }
    let servers = Spare::new(scene, at);
    Prepared::ready(move || {
        let socket = sockets.pop().expect("one for each try");
        let _ = socket.send_to(&PAYLOAD, &servers.at().into());
    })
}

/// The server has asked somebody whom there was not, and nobody said so.
fn as_nobodys_answer<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let at =
        move |last: u8, port| if version == Version::V4 { v4(last, port) } else { v6(last.into(), port) };
    let servers = Spare::new(scene, at(77, PORT));
    let mut port = 23_000;
    Prepared::ready(move || {
        port += 1;
        let (from, to, patience) = (at(78, port), servers.at(), scene.patience.get());
        servers.asks(from);
        let _late = Spare::new(scene, from);
        scene.web_cgroup.enter(|| scene.db.does(move || send(Protocol::UDP, Some(from), to, patience)));
    })
}

/// An address of `api`'s, which may, is `web`'s until this is dropped.
struct Inherited<'a> {
    scene: &'a Scene<'a>,
    address: SocketAddr,
}

impl<'a> Inherited<'a> {
    fn new(scene: &'a Scene<'a>, version: Version) -> Self {
        let inherited = Self { scene, address: scene.api.at(version == Version::V6) };
        inherited.goes(scene.api, scene.web);
        inherited
    }

    fn end(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), 0)
    }

    fn goes(&self, from: &Container, to: &Container) {
        let address = self.address.ip();
        let network = if address.is_ipv4() { format!("{address}/24") } else { format!("{address}/64 nodad") };
        let (gone, come) = (network.replace(" nodad", ""), network);
        from.does(move || ip(&format!("addr del {gone} dev eth0")));
        to.does(move || ip(&format!("addr add {come} dev eth0")));
        self.scene.db.does(|| ip("neigh flush dev eth0"));
    }
}

impl Drop for Inherited<'_> {
    fn drop(&mut self) {
        self.goes(self.scene.web, self.scene.api);
    }
}

fn with_left_address<'a>(scene: &'a Scene<'a>, version: Version, protocol: Protocol) -> Prepared<'a> {
    let (to, inherited) = (to(scene, version), Inherited::new(scene, version));
    Prepared::ready(move || {
        let from = inherited.end();
        let patience = scene.patience.get();
        scene.as_web(move || send(protocol, Some(from), to, patience));
    })
}

/// A socket belongs to the cgroup in which it was made.
fn moved<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let to = to(scene, version);
    Prepared::ready(move || {
        let socket = scene.as_web(move || datagrams(to, Protocol::UDP)).expect("a socket");
        // Whether it is told or not.
        let _ = scene.api_cgroup.enter(|| scene.web.does(move || socket.send_to(&PAYLOAD, &to.into())));
    })
}

fn inside<'a>(scene: &'a Scene<'a>, version: Version, protocol: Protocol) -> Prepared<'a> {
    let to = to(scene, version);
    Prepared::ready(move || {
        let patience = scene.patience.get();
        scene.nested.enter(|| scene.web.does(move || send(protocol, None, to, patience)));
    })
}
