//! The canaries: two workloads of the daemon's own that try what is enforced, by traffic whose effect is looked at where it
//! arrives or does not.
//!
//! Each is a process in a cgroup and a network namespace of its own, behind a virtual Ethernet link whose end at the host is
//! judged as any container's. What they may is fixed ([`crate::policy::canary`]). What one sends goes from the host's end of
//! its link into that of the other ([`crate::links::lay`]), so that nothing else of the host has to do with it.
//!
//! Where calls that send past the IP stack are judged, the one who sends has a second process without such a link.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::runtime::Handle;

use self::{
    child::Helper,
    home::Home,
    probe::{Place, Probe},
    wire::{Answer, Ask, Outcome, Shot, Token},
};
use crate::{
    attribution::Canary,
    links::lay::{self, Mac, Plan},
    policy::canary::{CLOSED, HIDDEN, OPEN, Role},
};

mod child;

mod helper;

mod home;

mod listen;

mod packet;

mod probe;

mod send;

mod wire;

pub use self::helper::answer;

/// The command with which this program is one of them, and does nothing else ([`answer`]).
pub const COMMAND: &str = "canary";

/// The host's ends of their links.
const LINKS: [&str; 2] = ["cofferdam-send", "cofferdam-recv"];
/// What they call their own ends.
const INNER: &str = "eth0";
/// The only interface where there is no link.
const LOOPBACK: &str = "lo";
/// Their hardware addresses, which are of this kind only (IEEE 802: locally administered).
const MACS: [Mac; 2] = [[0x02, 0xcf, 0, 0, 0, 1], [0x02, 0xcf, 0, 0, 0, 2]];

/// Their addresses: the sender's, the receiver's, and the receiver's that nobody is told of. Of the last 256 of the IPv4
/// link-local network, which nobody may choose by himself (RFC 3927 section 2.1), and of a unique local network of IPv6 that
/// was drawn by lot (RFC 4193). They are in the canaries' own namespaces only.
const V4: [IpAddr; 3] = [v4(241), v4(242), v4(243)];
const V6: [IpAddr; 3] = [v6(1), v6(2), v6(3)];
const V4_LENGTH: u8 = 28;
const V6_LENGTH: u8 = 64;

/// Longest that what is to arrive may take, and how long what is not has time to.
const ARRIVES_WITHIN: Duration = Duration::from_millis(2_000);
const STAYS_AWAY: Duration = Duration::from_millis(200);
/// Longest that one try may take to be sent.
const SENT_WITHIN: Duration = Duration::from_secs(1);

const fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(169, 254, 255, last))
}

const fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfdcb, 0x7e15, 0x9a42, 0, 0, 0, 0, last))
}

/// They, and all that is theirs. Gone when this is dropped.
pub struct Canaries {
    // In this order: a cgroup can be removed when nobody is there any more. The links go with the namespaces.
    sender: Helper,
    receiver: Helper,
    linkless: Option<Linkless>,
    homes: [Home; 2],
    no_ipv6: Option<String>,
    no_calls: Option<String>,
    next: Token,
    tasks: Handle,
}

/// The second process of the one who sends.
struct Linkless {
    // In this order, as in [`Canaries`].
    helper: Helper,
    home: Home,
}

impl Canaries {
    /// Makes them, and removes what a daemon has left that was killed. `cgroup_root` is where the v2 tree is mounted; links
    /// are laid by `tasks`; `calls_are_judged` says whether calls are that send past the IP stack. Who they are is told to
    /// `tell` before they do anything, and once more when all is known. Blocks.
    ///
    /// # Errors
    /// Why they cannot be made. Then nothing of them is there.
    pub fn make(
        cgroup_root: &Path,
        tasks: &Handle,
        calls_are_judged: bool,
        tell: impl Fn(Vec<Canary>),
    ) -> anyhow::Result<Self> {
        let parent = home::own(cgroup_root)?;
        home::clear(&parent);
        let [sends, receives] = ["sender", "receiver"].map(|name| Home::make(&parent, name));
        let homes = [sends?, receives?];
        let linkless = calls_are_judged.then(|| Home::make(&parent, "linkless")).transpose()?;
        tell(told(&homes, linkless.as_ref(), [None; 2]));
        let [sender, receiver] = homes.each_ref().map(|home| Helper::start(home.directory()));
        let (sender, receiver) = (sender?, receiver?);
        // Without it, all else can be tried.
        let (linkless, no_calls) = match linkless.map(Linkless::start).transpose() {
            Ok(linkless) => (linkless, None),
            Err(why) => (None, Some(format!("{why:#}"))),
        };
        let tasks = tasks.clone();
        let mut canaries =
            Self { sender, receiver, linkless, homes, no_ipv6: None, no_calls, next: 1, tasks };
        canaries.connect()?;
        let pids = [&canaries.sender, &canaries.receiver].map(|helper| Some(helper.pid()));
        let linkless = canaries.linkless.as_ref().map(|linkless| &linkless.home);
        tell(told(&canaries.homes, linkless, pids));
        Ok(canaries)
    }

    /// Why nothing is tried over IPv6, if so.
    #[must_use]
    pub fn no_ipv6(&self) -> Option<&str> {
        self.no_ipv6.as_deref()
    }

    /// Why no call is tried that sends past the IP stack, although they are judged, if so.
    #[must_use]
    pub fn no_calls(&self) -> Option<&str> {
        self.no_calls.as_deref()
    }

    /// Tries all, and returns what did not go as it must. Takes some seconds.
    ///
    /// # Errors
    /// When they do not answer any more.
    pub fn try_all(&mut self) -> anyhow::Result<Vec<String>> {
        let probes: Vec<_> = probe::all(self.no_ipv6.is_none(), self.linkless.is_some()).collect();
        let mut tries: Vec<(Probe, Token, Outcome)> = Vec::with_capacity(probes.len());
        for probe in probes {
            let token = self.next;
            self.next += 1;
            let outcome = self.send(&probe, token)?;
            tries.push((probe, token, outcome));
        }
        let awaited =
            tries.iter().filter(|(probe, _, outcome)| probe.is_awaited() && *outcome == Outcome::Sent);
        let expected = awaited.map(|(_, token, _)| *token).collect();
        let [longest, least] =
            [ARRIVES_WITHIN, STAYS_AWAY].map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        let arrived = match self.receiver.ask(&Ask::Collect { expected, longest, least }, ARRIVES_WITHIN)? {
            Answer::Arrived(arrived) => arrived.into_iter().collect::<HashSet<_>>(),
            other => bail!("an answer that fits nothing: {other:?}"),
        };
        Ok(tries
            .iter()
            .filter_map(|(probe, token, outcome)| probe.fault(*token, outcome, &arrived))
            .collect())
    }

    fn send(&mut self, probe: &Probe, token: Token) -> anyhow::Result<Outcome> {
        let [from, own, shared] = if probe.ipv6 { V6 } else { V4 };
        let to = if probe.place == Place::Shared { shared } else { own };
        let shot = Shot { how: probe.how, from, to, port: probe.port, mac: MACS[1], token };
        let sender = match &mut self.linkless {
            Some(linkless) if probe.place == Place::Nowhere => &mut linkless.helper,
            _ => &mut self.sender,
        };
        match sender.ask(&Ask::Send(shot), SENT_WITHIN)? {
            Answer::Sent(outcome) => Ok(outcome),
            other => bail!("an answer that fits nothing: {other:?}"),
        }
    }

    /// Lays their links, and has them listen.
    fn connect(&mut self) -> anyhow::Result<()> {
        let [sends, receives] = LINKS;
        let plan = |name, pid, mac| Plan { name, inner: INNER, mac, pid };
        let plans = [plan(sends, self.sender.pid(), MACS[0]), plan(receives, self.receiver.pid(), MACS[1])];
        self.tasks.block_on(lay::two(plans.each_ref()))?;
        let [one, two, shared] = [0, 1, 2].map(|place| [(V4[place], V4_LENGTH), (V6[place], V6_LENGTH)]);
        let (one, two) = (one.to_vec(), [two, shared].concat());
        let at =
            |addresses: &[(IpAddr, u8)], mac| addresses.iter().map(|(address, _)| (*address, mac)).collect();
        let (of_one, of_two) = (at(&one, MACS[0]), at(&two, MACS[1]));
        let ports = vec![OPEN, CLOSED, HIDDEN];
        let not_there = settle(&mut self.sender, INNER, one, of_two, Vec::new()).context("the sender")?;
        let nor_there = settle(&mut self.receiver, INNER, two, of_one, ports).context("the receiver")?;
        self.no_ipv6 = not_there.or(nor_there);
        Ok(())
    }
}

impl Linkless {
    fn start(home: Home) -> anyhow::Result<Self> {
        let mut helper = Helper::start(home.directory())?;
        settle(&mut helper, LOOPBACK, Vec::new(), Vec::new(), Vec::new()).context("who has no link")?;
        Ok(Self { helper, home })
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        // They would go with the namespaces, a moment after these.
        if let Err(error) = self.tasks.block_on(lay::remove_all(LINKS)) {
            tracing::warn!("links of the daemon's own cannot be removed: {error:#}");
        }
    }
}

/// Who they are. Where there is no link, it is not looked for one.
fn told(homes: &[Home; 2], linkless: Option<&Home>, pids: [Option<u32>; 2]) -> Vec<Canary> {
    let sender = Role::Sender.name();
    let linkless =
        linkless.map(|home| Canary { name: sender, cgroup: home.cgroup, pid: None, addresses: Vec::new() });
    let told = Role::ALL.into_iter().zip(homes).zip(pids).zip(V4.into_iter().zip(V6));
    told.map(|(((role, home), pid), (v4, v6))| Canary {
        name: role.name(),
        cgroup: home.cgroup,
        pid,
        addresses: vec![v4, v6],
    })
    .chain(linkless)
    .collect()
}

/// Has one settle; returns why it has no IPv6, if it has none.
fn settle(
    helper: &mut Helper,
    interface: &str,
    addresses: Vec<(IpAddr, u8)>,
    neighbours: Vec<(IpAddr, Mac)>,
    ports: Vec<u16>,
) -> anyhow::Result<Option<String>> {
    let ask = Ask::Settle { interface: interface.to_owned(), addresses, neighbours, ports };
    match helper.ask(&ask, SENT_WITHIN)? {
        Answer::Done => Ok(None),
        Answer::WithoutIpv6(why) => Ok(Some(why)),
        other => bail!("an answer that fits nothing: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_addresses_are_of_one_network_each() {
        assert!(LINKS.iter().all(|name| name.len() < 16), "IFNAMSIZ");
        for address in V4 {
            let IpAddr::V4(address) = address else { panic!("{address}") };
            assert!(
                address.is_link_local()
                    && u32::from(address) >> 4 == u32::from(Ipv4Addr::new(169, 254, 255, 240)) >> 4
            );
        }
        assert!(V6.iter().all(|address| matches!(address, IpAddr::V6(address) if address.is_unique_local())));
        assert!(MACS.iter().all(|mac| mac[0] & 0b11 == 0b10), "local, and of one");
    }
}
