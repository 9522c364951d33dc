//! What changes without anybody attacking: deploys, restarts, scaling, failovers, crowds, and people who look by hand.

use std::sync::Arc;

use super::{
    DAY,
    chance::Chance,
    host::{Gained, Host, Link, Pace, Peer, Role},
};

/// Changes, in the order of their minutes.
pub(super) struct Changes {
    due: Vec<(i64, Change)>,
}

#[derive(Clone, Copy)]
enum Change {
    Deploy(usize),
    Restart(usize),
    Scale(usize, bool),
    /// The standby of a project takes over, or gives back.
    Failover(usize),
    /// A project is so many times as busy.
    Busy(usize, f64),
    /// Somebody looks by hand: from the host, or from within a container.
    ByHand(Option<usize>, usize),
}

impl Changes {
    /// Plans all of them.
    pub(super) fn plan(chance: &mut Chance, host: &Host, days: i64) -> Self {
        let mut due = Vec::new();
        let last = days * DAY;
        for (index, service) in host.services.iter().enumerate() {
            // Those with people of their own are deployed about once in five days, the others about once in three weeks.
            let often = if service.own { 1.0 / 5.0 } else { 1.0 / 21.0 };
            for day in 0..days {
                let at =
                    |chance: &mut Chance, from: i64, to: i64| day * DAY + chance.between(from * 60, to * 60);
                if day % 7 < 5 && chance.happens(often) {
                    due.push((at(chance, 9, 18), Change::Deploy(index)));
                }
                if chance.happens(0.1) {
                    due.push((at(chance, 0, 24), Change::Restart(index)));
                }
                if service.own && chance.happens(0.3) {
                    due.push((at(chance, 8, 12), Change::Scale(index, true)));
                    due.push((at(chance, 18, 23), Change::Scale(index, false)));
                }
            }
        }
        let projects = host.busy.len() - 1;
        for _ in 0..3 {
            due.push((chance.between(2 * DAY, last), Change::Failover(chance.index(projects))));
        }
        for _ in 0..2 {
            let (project, at) = (chance.index(projects), chance.between(4 * DAY, last));
            due.push((at, Change::Busy(project, chance.even(2.5, 5.0))));
            due.push((at + chance.between(60, 240), Change::Busy(project, 1.0)));
        }
        for _ in 0..4 {
            let from = chance.happens(0.5).then(|| chance.index(host.services.len()));
            let (to, at) = (chance.index(host.services.len()), chance.between(DAY, last));
            due.push((at, Change::ByHand(from, to)));
        }
        due.sort_by_key(|(minute, _)| std::cmp::Reverse(*minute));
        Self { due }
    }

    /// Makes what is due.
    pub(super) fn apply(&mut self, chance: &mut Chance, host: &mut Host, minute: i64, gained: &mut Gained) {
        while let Some((_, change)) = self.due.pop_if(|(due, _)| *due <= minute) {
            match change {
                Change::Deploy(index) => deploy(chance, host, index, minute),
                Change::Restart(index) => host.services[index].recreate(chance),
                Change::Scale(index, up) => {
                    let count = host.services[index].replicas.len();
                    if up {
                        let more = host.services[index].container(chance, count + 1);
                        host.services[index].replicas.push(more);
                    } else if count > 1 {
                        host.services[index].replicas.pop();
                    }
                }
                Change::Failover(project) => failover(host, project),
                Change::Busy(project, times) => host.busy[project] = times,
                Change::ByHand(from, to) => {
                    let by = from.and_then(|from| host.services[from].replicas.first().cloned());
                    let by = by.unwrap_or_else(|| Arc::clone(&host.itself));
                    let port = own_port(host, to);
                    host.by_hand(chance, &by, to, port, minute, gained);
                }
            }
        }
    }
}

/// At which port a service serves.
pub(super) fn own_port(host: &Host, index: usize) -> u16 {
    match host.services[index].name.as_str() {
        "web" | "api" => 8080,
        "cache" => 6379,
        "db" | "standby" => 5432,
        "queue" => 5672,
        "logs" => 3100,
        "mail" => 25,
        _ => 22,
    }
}

/// A new image; some of them do something new.
fn deploy(chance: &mut Chance, host: &mut Host, index: usize, minute: i64) {
    let digest = format!("sha256:{}", chance.hex(64));
    host.services[index].digest = digest;
    host.services[index].recreate(chance);
    if !host.services[index].own || !chance.happens(0.3) {
        return;
    }
    // Mostly at once, and once in a while only by a way that is seldom taken.
    let later = if chance.happens(0.1) { chance.between(360, 1_800) } else { chance.between(1, 90) };
    let project = host.services[index].project;
    let to = if chance.happens(0.5) {
        let known = |(other, one): &(usize, &super::host::Service)| {
            *other != index && one.role == Role::Store && one.project == project
        };
        let stores: Vec<usize> =
            host.services.iter().enumerate().filter(known).map(|(other, _)| other).collect();
        chance.pick(&stores).map(|store| (Peer::Service(*store), own_port(host, *store)))
    } else {
        Some((Peer::Outside(host.stranger(chance, true)), 443))
    };
    let Some((to, port)) = to else { return };
    let pace = if chance.happens(0.3) { Pace::Even(12.0) } else { Pace::Season(10.0) };
    host.links.push(Link {
        from: index,
        to,
        port,
        pace,
        bytes: chance.scale(5_000.0, 500_000.0),
        spread: 1.0,
        up: 0.3,
        heavy: true,
        since: minute + later,
        until: i64::MAX,
    });
}

/// The standby takes over what the first had, or gives it back.
fn failover(host: &mut Host, project: usize) {
    let find = |name: &str| host.services.iter().position(|one| one.project == project && one.name == name);
    let (Some(db), Some(standby)) = (find("db"), find("standby")) else { return };
    let shared = host.busy.len() - 1;
    let swap = |index: usize| {
        if index == db {
            standby
        } else if index == standby {
            db
        } else {
            index
        }
    };
    for link in &mut host.links {
        // Who scrapes them does so as before.
        if host.services[link.from].project == shared && link.port == 9100 {
            continue;
        }
        if let Peer::Service(to) = link.to
            && (to == db || to == standby)
        {
            link.to = Peer::Service(swap(to));
            if link.from == db || link.from == standby {
                link.from = swap(link.from);
            }
        }
    }
}
