//! A tunnel between both ends, as a container with `CAP_NET_ADMIN` can dig one where the other end helps, or has one.

use std::net::{IpAddr, SocketAddr};

use socket2::Protocol;

use super::{
    Prepared, Scene, Version, Way,
    server::{PAYLOAD, PORT},
    sockets::{datagrams, to},
};
use crate::policy::bridge::{Container, ip};

pub(super) const WAYS: &[Way] = &[Way::new("UDP through a tunnel (VXLAN)", sends)];

fn sends<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let (web, db) = (scene.web.at(version == Version::V6).ip(), to(scene, version).ip());
    dig(scene.web, (web, 1), (db, 2));
    dig(scene.db, (db, 2), (web, 1));
    let inner = SocketAddr::new(inside(db, 2), PORT);
    Prepared::ready(move || {
        // Whether it is told or not.
        let _ = scene.as_web(move || datagrams(inner, Protocol::UDP)?.send_to(&PAYLOAD, &inner.into()));
    })
}

/// One end of it. Each knows the other's hardware address, so that nothing but what is sent has to pass.
fn dig(container: &Container, (own, last): (IpAddr, u8), (other, other_last): (IpAddr, u8)) {
    let number = if own.is_ipv4() { 4 } else { 6 };
    let hardware = |last: u8| format!("02:00:00:00:0{number}:{last:02}");
    let (own_inside, other_inside) = (inside(own, last), inside(other, other_last));
    let (own_hardware, other_hardware) = (hardware(last), hardware(other_last));
    let (length, nodad) = if own.is_ipv4() { (24, "") } else { (64, "nodad") };
    container.does(move || {
        let name = format!("tunnel{number}");
        ip(&format!(
            "link add {name} address {own_hardware} type vxlan id {number} local {own} remote {other} dstport 4789 dev eth0"
        ));
        ip(&format!("addr add {own_inside}/{length} dev {name} {nodad}"));
        ip(&format!("link set {name} up"));
        ip(&format!("neigh add {other_inside} lladdr {other_hardware} dev {name} nud permanent"));
    });
}

fn inside(outer: IpAddr, last: u8) -> IpAddr {
    match outer {
        IpAddr::V4(_) => IpAddr::from([198, 18, 7, last]),
        IpAddr::V6(_) => IpAddr::from([0xfd00, 0xc0ff, 7, 0, 0, 0, 0, u16::from(last)]),
    }
}
