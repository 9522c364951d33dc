//! What policies mean, word for word: an interpreter of the documents that is slow and plain. The plan is held against
//! it.

use std::net::IpAddr;

use cofferdam_common::{
    network::{VERDICT_ALLOW, VERDICT_AUDIT, VERDICT_DENY, VERDICT_HOLD},
    policy::why,
};
use ipnet::IpNet;

use super::{
    ByDefault, NeverTold, Settings, Unresolved,
    model::{Direction, Entry, Mode, Network, Peer, Policy, Protocol, Rule, Services, Verdict},
};
use crate::event::{Workload, WorkloadKind};

/// Who is at one end of a packet.
#[derive(Clone, Debug)]
pub(super) enum End {
    Workload(Box<Workload>),
    /// With the names under which the other end knows it.
    Outside(Option<IpAddr>, Vec<String>),
    Unresolved,
    NeverTold,
    Nobody,
}

/// A verdict, why, and which rule: the place of its policy in the list, and its place in the policy.
pub(super) type Judged = (u8, u8, Option<(usize, usize)>);

pub(super) fn judge(
    policies: &[Policy],
    settings: Settings,
    direction: Direction,
    subject: &End,
    peer: &End,
    packet: (u8, u16),
) -> Judged {
    let by = |peer: &End| judge_by(policies, settings, direction, subject, peer, packet);
    let End::Outside(address, names) = peer else { return by(peer) };
    // By the address alone, and then by each name alone.
    let mut judged = by(&End::Outside(*address, Vec::new()));
    if direction == Direction::Egress && judged.1 == why::NOT_ALLOWED {
        for name in names {
            let by_name = by(&End::Outside(None, vec![name.clone()]));
            // Allowing is the least, and denying the most.
            if (by_name.0, by_name.1) < (judged.0, judged.1) {
                judged = by_name;
            }
        }
    }
    judged
}

fn judge_by(
    policies: &[Policy],
    settings: Settings,
    direction: Direction,
    subject: &End,
    peer: &End,
    (protocol, port): (u8, u16),
) -> Judged {
    let subject = match subject {
        End::Workload(workload) => workload,
        End::Unresolved => {
            return match settings.unresolved {
                Unresolved::Allow => (VERDICT_ALLOW, why::DEFAULT, None),
                Unresolved::Audit => (VERDICT_AUDIT, why::UNRESOLVED, None),
                Unresolved::Deny => (VERDICT_DENY, why::UNRESOLVED, None),
                Unresolved::Hold => (VERDICT_HOLD, why::UNRESOLVED, None),
            };
        }
        End::NeverTold => {
            return match settings.never_told {
                NeverTold::Allow | NeverTold::Judge => (VERDICT_ALLOW, why::DEFAULT, None),
                NeverTold::Audit => (VERDICT_AUDIT, why::UNRESOLVED, None),
                NeverTold::Deny => (VERDICT_DENY, why::UNRESOLVED, None),
            };
        }
        End::Outside(..) | End::Nobody => return (VERDICT_ALLOW, why::DEFAULT, None),
    };

    // All rules that select the subject, as they are named.
    let mut selecting: Vec<(&str, usize, usize, Mode, &Rule)> = Vec::new();
    for (place, policy) in policies.iter().enumerate() {
        for (number, rule) in policy.rules.iter().enumerate() {
            if rule.direction == direction && rule.subjects.iter().any(|it| is_subject(it, subject)) {
                selecting.push((&policy.name, number, place, policy.mode, rule));
            }
        }
    }
    selecting.sort_by_key(|(name, number, ..)| (*name, *number));
    let first_with = |mode: Option<Mode>, wanted: &dyn Fn(&Rule) -> bool| {
        selecting
            .iter()
            .find(|(_, _, _, of, rule)| mode.is_none_or(|mode| mode == *of) && wanted(rule))
            .map(|(_, number, place, ..)| (*place, *number))
    };
    let has = |rule: &Rule, verdict: Verdict| {
        rule.entries.iter().any(|entry| entry.verdict == verdict && is_about(entry, peer, protocol, port))
    };
    let permits = |rule: &Rule| has(rule, Verdict::Allow) || has(rule, Verdict::Audit);
    let denies = |rule: &Rule| has(rule, Verdict::Deny);
    let any = |_: &Rule| true;
    let (enforced, audited) = (Some(Mode::Enforce), Some(Mode::Audit));

    if let Some(rule) = first_with(enforced, &denies) {
        return (VERDICT_DENY, why::RULE, Some(rule));
    }
    if let Some(rule) = first_with(enforced, &any) {
        if first_with(enforced, &permits).is_none() {
            return (VERDICT_DENY, why::NOT_ALLOWED, Some(rule));
        }
    } else {
        let default = match direction {
            Direction::Egress => settings.default_egress,
            Direction::Ingress => settings.default_ingress,
        };
        if default == ByDefault::Deny && subject.kind == WorkloadKind::Container {
            return (VERDICT_DENY, why::DEFAULT, None);
        }
    }
    if let Some(rule) = first_with(audited, &denies) {
        return (VERDICT_AUDIT, why::RULE, Some(rule));
    }
    if first_with(enforced, &any).is_none()
        && let Some(rule) = first_with(audited, &any)
        && first_with(audited, &permits).is_none()
    {
        return (VERDICT_AUDIT, why::NOT_ALLOWED, Some(rule));
    }
    if let Some(rule) = first_with(None, &|rule| has(rule, Verdict::Audit)) {
        return (VERDICT_AUDIT, why::RULE, Some(rule));
    }
    match first_with(None, &|rule| has(rule, Verdict::Allow)) {
        Some(rule) => (VERDICT_ALLOW, why::RULE, Some(rule)),
        None => (VERDICT_ALLOW, why::DEFAULT, None),
    }
}

fn is_subject(who: &Peer, subject: &Workload) -> bool {
    match who {
        Peer::Any => !matches!(subject.kind, WorkloadKind::Outside | WorkloadKind::Other),
        Peer::Workload(selector) => selector.selects(subject),
        Peer::Network(_) | Peer::Name(_) => false,
    }
}

fn is_about(entry: &Entry, peer: &End, protocol: u8, port: u16) -> bool {
    let with = entry.peers.iter().any(|who| match (who, peer) {
        (Peer::Any, _) => true,
        (Peer::Workload(selector), End::Workload(workload)) => selector.selects(workload),
        (Peer::Network(Network { cidr, except }), End::Outside(Some(address), _)) => {
            holds(cidr, *address) && !except.iter().any(|except| holds(except, *address))
        }
        (Peer::Name(pattern), End::Outside(_, names)) => {
            names.iter().any(|name| is_meant(pattern.as_str(), name))
        }
        _ => false,
    });
    with && entry.services.iter().any(|Services { protocol: wanted, ports: (first, last) }| {
        let same = match wanted {
            Protocol::Any => true,
            Protocol::Icmp => protocol == 1 || protocol == 58,
            Protocol::Number(number) => protocol == *number,
        };
        same && (*first..=*last).contains(&port)
    })
}

/// `*.example.org` means all names that end in `.example.org`.
fn is_meant(pattern: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    match pattern.strip_prefix('*') {
        Some(end) => name.len() > end.len() && name.ends_with(end),
        None => name == pattern,
    }
}

fn holds(network: &IpNet, address: IpAddr) -> bool {
    network.contains(&address)
}

mod property;
