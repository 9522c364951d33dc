//! `cofferdam why ID`: what was denied or unusual, and what would come of the same now.

use jiff::Timestamp;

use super::text;
use crate::{
    api::{EventExplained, EventQuery},
    cli::{
        Client, Failure, alerts,
        output::{is_terminal, print, print_json, printable},
        question,
    },
    event::{Denial, Direction, EventKind, Verdict},
};

/// Asks and shows the answer.
pub(super) fn answer(client: &Client, id: String, json: bool) -> Result<(), Failure> {
    let explained: EventExplained = client.get(&question("/v1/policy/explain/event", &EventQuery { id })?)?;
    if json { print_json(&explained) } else { print(&page(&explained, Timestamp::now(), is_terminal())) }
}

/// What was told, and below it what comes of it now.
pub(in crate::cli) fn page(explained: &EventExplained, now: Timestamp, for_people: bool) -> String {
    let mut page = match &explained.event {
        EventKind::Denial(denial) => denied(denial, explained.time, now, for_people),
        EventKind::Alert(alert) => alerts::text(std::slice::from_ref(alert), now, for_people),
        other => format!("{}\n", other.name()),
    };
    if let Some(answer) = &explained.now {
        page += &format!("\nNOW\n{}", text(answer, now, for_people));
    }
    page
}

fn denied(denial: &Denial, time: Timestamp, now: Timestamp, for_people: bool) -> String {
    let (style, mark) = match denial.verdict {
        Verdict::Deny => (super::DENIED, "✖"),
        _ => (super::REPORTED, "▲"),
    };
    let end = match denial.direction {
        Direction::Egress => format!("what {} may send", denial.source.workload),
        Direction::Ingress => format!("what {} may receive", denial.target.workload),
    };
    let effect = match (denial.verdict, denial.layer.as_str()) {
        (Verdict::Deny, "connect" | "lsm") => "the caller was told EPERM",
        (Verdict::Deny, "egress") => "the packet was dropped, and whoever sent a datagram was told EPERM",
        (Verdict::Deny, "ingress") => "the packet was dropped before the receiver's socket",
        (Verdict::Deny, "veth") => "the frame was dropped between the container and the host",
        (Verdict::Deny, _) => "it did not pass",
        _ => "it passed, and was reported",
    };
    let caller =
        denial.caller.as_ref().map(|caller| format!("  tried by {}\n", printable(&caller.to_string())));
    format!(
        "{style}{mark} denial{style:#}  {}  {}\n  {}\n  decided by {}, at {}: {effect}\n{}",
        printable(&denial.id),
        super::when(time, now, for_people),
        printable(&denial.to_string()),
        printable(&end),
        printable(&denial.layer),
        caller.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::samples;

    fn plain(explained: &EventExplained) -> String {
        let now: Timestamp = "2026-11-24T10:00:41Z".parse().expect("a time");
        anstream::adapter::strip_str(&page(explained, now, true)).to_string()
    }

    fn told(event: EventKind) -> EventExplained {
        EventExplained { schema_version: 1, time: samples::denial().time, event, now: None }
    }

    #[test]
    fn a_denial_says_who_decided_where_and_what_came_of_it_as_the_documentation_has_it() {
        let page = plain(&told(samples::denial().kind));
        insta::assert_snapshot!(page, @r"
        ✖ denial  6ac3acb19b00aeaf  40 s ago
          shop/web -> shop/db tcp/5432 denied, not allowed by shop#2 (/etc/cofferdam/policies/shop.yaml:14), 3 times
          decided by what shop/db may receive, at connect: the caller was told EPERM
          tried by pid 8123 psql (/usr/bin/psql) ← /bin/sh, user 1000
        ");
        assert!(include_str!("../../../../docs/cli.md").contains(&page), "docs/cli.md lacks\n{page}");
        let EventKind::Denial(denial) = samples::denial().kind else { panic!("no denial") };
        let audited =
            Denial { caller: None, verdict: Verdict::Audit, direction: Direction::Egress, ..denial };
        let page = plain(&told(EventKind::Denial(audited)));
        let end = "  decided by what shop/web may send, at connect: it passed, and was reported\n";
        assert!(page.starts_with("▲ denial") && page.ends_with(end), "{page}");
    }

    #[test]
    fn an_alert_is_shown_as_in_the_list() {
        let page = plain(&told(samples::alert().kind));
        assert!(page.starts_with("✖ critical  9f2c41d07ab3e865  new_edge"), "{page}");
    }
}
