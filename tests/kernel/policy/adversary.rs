//! One who may not send to a server tries it in every way that the kernel knows of (FIELD.md, section 1, and beyond). The
//! oracle is what the server has got. Each way is first shown to be one: while all is allowed it leads there.

mod compat;
mod injection;
mod neighbours;
mod race;
mod raw;
mod server;
mod sockets;
mod tunnel;
pub(super) mod uring;

use std::{cell::Cell, thread, time::Duration};

use cofferdam_common::network::{VERDICT_ALLOW, VERDICT_DENY};
use cofferdam_tests::rounds;

use self::server::Server;
use super::{
    bridge::{self, Container},
    judge::{Judge, WEB},
};
use crate::node::Cgroup;

/// How often each way is tried where all is done that can be.
const ALL_ROUNDS: u32 = 400;
/// How often a way is tried at most until it is seen to lead there.
const TRIES: u32 = 5;
/// Longest that something may take that is to arrive.
const SOON: Duration = Duration::from_secs(10);
/// How long the server is looked at after all rounds of a way: longer than the first time that TCP sends again (200 ms).
const AFTERWARDS: Duration = Duration::from_millis(250);
/// How long what was sent together may arrive one after the other.
const MEANWHILE: Duration = Duration::from_millis(30);
/// How long one who is denied waits for an answer, each time.
const IN_VAIN: Duration = Duration::from_millis(2);

/// Who plays: `web` tries, `db` serves, `api` may.
struct Scene<'a> {
    web: &'a Container,
    web_cgroup: &'a Cgroup,
    /// A cgroup inside `web`'s.
    nested: &'a Cgroup,
    db: &'a Container,
    db_cgroup: &'a Cgroup,
    api: &'a Container,
    api_cgroup: &'a Cgroup,
    server: &'a Server,
    /// How long one waits for an answer to go on.
    patience: Cell<Duration>,
}

impl Scene<'_> {
    /// Does something as a process of `web`.
    fn as_web<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        self.web_cgroup.enter(|| self.web.does(act))
    }
}

/// How much of what is used up by a try has to be there.
fn enough() -> u32 {
    rounds(ALL_ROUNDS) + TRIES
}

/// Tries it once.
type Try<'a> = Box<dyn FnMut() + 'a>;

/// What is needed to try it.
enum Prepared<'a> {
    Ready(Try<'a>),
    /// This kernel cannot do that.
    Lacking,
}

impl<'a> Prepared<'a> {
    fn ready(act: impl FnMut() + 'a) -> Self {
        Self::Ready(Box::new(act))
    }
}

/// A way to try it.
struct Way {
    name: &'static str,
    /// Of which IP versions there is such a thing.
    versions: &'static [Version],
    /// Whose it is.
    source: for<'a> fn(&Scene<'a>) -> &'a Cgroup,
    /// Called while all is allowed.
    prepare: for<'a> fn(&'a Scene<'a>, Version) -> Prepared<'a>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    V4,
    V6,
}

const BOTH: &[Version] = &[Version::V4, Version::V6];

impl Way {
    /// One of `web`'s, with both versions of IP.
    const fn new(name: &'static str, prepare: for<'a> fn(&'a Scene<'a>, Version) -> Prepared<'a>) -> Self {
        Self { name, versions: BOTH, source: |scene| scene.web_cgroup, prepare }
    }

    const fn only(self, versions: &'static [Version]) -> Self {
        Self { versions, ..self }
    }
}

fn ways() -> impl Iterator<Item = &'static Way> {
    [sockets::WAYS, uring::WAYS, raw::WAYS, injection::WAYS, neighbours::WAYS, tunnel::WAYS, compat::WAYS]
        .into_iter()
        .flatten()
}

/// What came of a way, where it is not as it should be.
#[expect(clippy::print_stdout, reason = "the figures are asked for")]
fn play(judge: &mut Judge<'_>, scene: &Scene<'_>, way: &Way, version: Version) -> Vec<String> {
    let server = scene.server;
    judge.says(Some(WEB), VERDICT_ALLOW);
    scene.patience.set(SOON);
    let name = format!("{} ({version:?})", way.name);
    let mut act = match (way.prepare)(scene, version) {
        Prepared::Ready(act) => act,
        Prepared::Lacking => {
            println!("{name}: this kernel has no such thing");
            // Those of the virtual machines have all of it.
            let must = std::env::var_os("COFFERDAM_TEST_VM").is_some();
            return must.then(|| format!("{name}: is missing")).into_iter().collect();
        }
    };
    let before = server.bytes();
    // A datagram may be lost on its way.
    let leads = (0..TRIES).any(|_| {
        act();
        server.gets_more_than(before, SOON / TRIES)
    });
    if !leads {
        return vec![format!("{name}: leads nowhere, although it is allowed")];
    }
    // What else it has sent.
    thread::sleep(MEANWHILE);
    judge.says(Some(WEB), VERDICT_DENY);
    scene.patience.set(IN_VAIN);
    let source = (way.source)(scene);
    let told = |judge: &Judge<'_>| judge.denied(source).iter().map(|row| row.attempts).sum::<u64>();
    let (got_before, told_before) = (server.bytes(), told(judge));
    let rounds = rounds(ALL_ROUNDS);
    (0..rounds).for_each(|_| act());
    thread::sleep(AFTERWARDS);
    let (got, told) = (server.bytes() - got_before, told(judge) - told_before);
    println!("{name}: {got} bytes in {rounds} rounds, {told} denials");
    judge.node.drain();
    let mut wrong = Vec::new();
    if got > 0 {
        wrong.push(format!("{name}: {got} bytes arrived"));
    }
    if told < rounds.into() {
        wrong.push(format!("{name}: of {rounds} rounds only {told} were reported as of {}", source.name()));
    }
    wrong
}

#[test]
fn not_one_byte_of_whoever_is_denied_arrives_and_each_try_is_reported_as_his() {
    bridge::scene(|judge, [(web, web_cgroup), (db, db_cgroup), (api, api_cgroup)]| {
        judge.place(web_cgroup, WEB, true);
        let nested = web_cgroup.nested("inside");
        let server = &Server::start(db, db_cgroup);
        let patience = Cell::new(SOON);
        let scene =
            Scene { web, web_cgroup, nested: &nested, db, db_cgroup, api, api_cgroup, server, patience };
        let only = std::env::var("WAY").ok();
        let chosen: Vec<_> =
            ways().filter(|way| only.as_deref().is_none_or(|name| way.name == name)).collect();
        assert!(!chosen.is_empty(), "there is no way called {only:?}");
        let mut wrong = Vec::new();
        for way in chosen {
            for version in way.versions {
                wrong.extend(play(judge, &scene, way, *version));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}
