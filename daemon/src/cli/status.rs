//! `cofferdam status`, and `cofferdam` alone: how the daemon is, in a few lines, and what to do next.

use std::fmt::Write as _;

use clap::{
    Args,
    builder::styling::{AnsiColor, Style},
};

use super::{
    Client, Failure,
    output::{number, plural, print, print_json, printable, span},
};
use crate::{
    api::{State, Status},
    attribution::RuntimeState,
    enforcement::{self, Shadowing, Waiting},
    history,
    policy::folder::FileName,
};

/// Most files that are named.
const SHOWN_FILES: usize = 4;

/// Most programs of others that are named.
const SHOWN_FOREIGN: usize = 4;

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// As JSON (docs/api.md, /v1/status).
    #[arg(long)]
    json: bool,
}

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const NOTABLE: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let status: Status = client.get("/v1/status")?;
    if arguments.json { print_json(&status) } else { print(&text(&status)) }
}

/// The status and what to do next.
pub(super) fn overview(client: &Client) -> Result<(), Failure> {
    let status: Status = client.get("/v1/status")?;
    print(&format!("{}{}", text(&status), next(&status)))
}

fn text(status: &Status) -> String {
    let (style, state) = match status.state {
        State::Observing => (GOOD, status.policies.word()),
        State::Blind => (BAD, "blind: no hook is attached".to_owned()),
        State::Stalled => (BAD, "stalled: the pipeline does not turn".to_owned()),
    };
    let heard = status.runtimes.iter().filter(|runtime| runtime.state == RuntimeState::Connected);
    let heard: Vec<_> = heard
        .map(|runtime| {
            let name = runtime.runtime.to_string();
            runtime.version.iter().fold(name, |name, version| name + " " + version)
        })
        .collect();
    let heard = if heard.is_empty() { "no container runtime".to_owned() } else { heard.join(", ") };
    let mut text = format!(
        "{BOLD}Cofferdam {}{BOLD:#} · {style}{state}{style:#} · up {} · kernel {} · {}\n",
        printable(&status.version),
        span(status.uptime_seconds),
        printable(&status.kernel),
        printable(&heard),
    );
    let privileged = match status.privileged_containers {
        0 => String::new(),
        privileged => format!(" ({NOTABLE}{} privileged{NOTABLE:#})", number(privileged)),
    };
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "  {}{privileged}   {}   {}   {}{}",
        plural(status.containers, "container"),
        plural(status.interactions, "interaction"),
        match status.syscall_workloads {
            Some(workloads) => "syscalls of ".to_owned() + &plural(workloads, "workload"),
            None => "syscalls off".to_owned(),
        },
        notable(status.records_lost, &(plural(status.records_lost, "record") + " lost")),
        troubles(status),
    );
    text += &policies(&status.policies);
    text += &alerts(status);
    text += &history(&status.history);
    if let Some(problem) = &status.config.problem {
        let problem = printable(problem);
        let since = status.config.since;
        let _ = writeln!(
            text,
            "  {BAD}configuration broken{BAD:#}: {problem}\n  the one of {since:.0} stays in force → cofferdam config check"
        );
    }
    if !status.config.needs_restart.is_empty() {
        let keys = status.config.needs_restart.join(", ");
        let _ = writeln!(text, "  {NOTABLE}restart needed{NOTABLE:#} for: {}", printable(&keys));
    }
    text
}

/// Alerts that are open, and who is not told of them.
fn alerts(status: &Status) -> String {
    let mut text = match status.open_alerts {
        0 => String::new(),
        open => format!("  {NOTABLE}{} open{NOTABLE:#} → cofferdam alerts\n", plural(open, "alert")),
    };
    for receiver in &status.receivers {
        let name = printable(&receiver.name);
        if let Some(error) = &receiver.last_error {
            let place = printable(&receiver.place);
            text += &format!("  {BAD}alerts not sent{BAD:#} to {name} ({place}): {}\n", printable(error));
        }
        if receiver.dropped > 0 {
            text +=
                &format!("  {NOTABLE}{} dropped{NOTABLE:#} for {name}\n", plural(receiver.dropped, "alert"));
        }
    }
    text
}

/// The history, where not all that happened is in it.
fn history(report: &history::Report) -> String {
    let mut text = String::new();
    if let Some(problem) = &report.problem {
        text = format!("  {BAD}history not written{BAD:#}: {}\n", printable(problem));
    }
    let lost = report.lost_minutes + report.lost_events;
    if lost > 0 {
        text += &format!("  {NOTABLE}history incomplete{NOTABLE:#}: {} lost\n", plural(lost, "row"));
    }
    if let Some(aside) = &report.set_aside {
        let aside = aside.display().to_string();
        text += &format!(
            "  {NOTABLE}history damaged{NOTABLE:#}: begun anew, the old one is {}\n",
            printable(&aside)
        );
    }
    text
}

/// The policies, where there are any, or where they are broken.
fn policies(report: &enforcement::Report) -> String {
    let enforcement::Report { generation, since, enforced, audited, rules, unresolved, .. } = report;
    let mut text = String::new();
    if *generation > 0 {
        let mut parts = vec![
            format!("policies of {since:.0} (generation {generation})"),
            format!("{enforced} enforced, {audited} in audit"),
            plural(*rules, "rule"),
        ];
        if *unresolved > 0 {
            parts.push(notable(*unresolved as u64, &(plural(*unresolved, "cgroup") + " unresolved")));
        }
        if let Some(at) = report.verified.as_ref().and_then(|verified| verified.verified_at) {
            parts.push(format!("verified at {at:.0}"));
        }
        let tried = report.verified.as_ref().and_then(|verified| verified.tried.as_ref());
        if let Some(at) = tried.and_then(|tried| tried.right_at) {
            parts.push(format!("canaries right at {at:.0}"));
        }
        parts.extend(cuts(report));
        text = format!("  {}\n", parts.join("   "));
        text += &verified(report);
        if report.partial_workloads > 0 {
            text += &format!("  {}\n", partial(report));
        }
    }
    if let Some(Waiting { files, seconds_left, guarded, .. }) = &report.trial {
        let harm = if *guarded { ", or when they deny what was normal" } else { "" };
        text += &format!(
            "  {NOTABLE}not confirmed{NOTABLE:#}: {}; taken back in {}{harm} → cofferdam policy confirm, or revert\n",
            listed(files),
            span(*seconds_left)
        );
    }
    if let Some(Shadowing { files, .. }) = &report.shadow {
        text += &format!("  in the shadow: {} → cofferdam policy shadow\n", listed(files));
    }
    if let Some(problem) = &report.problem {
        let stays = match generation {
            0 => "nothing of them is in force".to_owned(),
            generation => format!("generation {generation} stays in force"),
        };
        text += &format!(
            "  {BAD}policies broken{BAD:#}: {}\n  {stays} → cofferdam policy check\n",
            printable(problem)
        );
    }
    text
}

/// The first files, and how many more there are.
fn listed(files: &[FileName]) -> String {
    let more = match files.len().saturating_sub(SHOWN_FILES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let files: Vec<&str> = files.iter().take(SHOWN_FILES).map(|name| &**name).collect();
    printable(&files.join(", ")).into_owned() + &more
}

/// Whether that is really enforced, what was mended, and what is noted; nothing where all is well and always was.
fn verified(report: &enforcement::Report) -> String {
    let Some(verified) = &report.verified else { return String::new() };
    let mut text = match verified.problem() {
        None => String::new(),
        Some(problem) => {
            format!("  {BAD}not enforced as they say{BAD:#}: {} → cofferdam doctor\n", printable(&problem))
        }
    };
    if let Some(last) = report.mended.last {
        let counts = report.mended.counts.iter();
        let counts: Vec<_> =
            counts.map(|(what, count)| format!("{} {}", number(*count), what.name())).collect();
        let _ = writeln!(text, "  {NOTABLE}mended{NOTABLE:#}: {}; last at {last:.0}", counts.join(", "));
    }
    for finding in verified.noted().take(SHOWN_FOREIGN) {
        let _ = writeln!(text, "  {NOTABLE}noted{NOTABLE:#}: {}", printable(&finding.text));
    }
    text
}

/// What became of open connections that are denied, where there were any.
fn cuts(report: &enforcement::Report) -> Vec<String> {
    let uncut: u64 = report.cuts.uncut().iter().map(|(_, count)| count).sum();
    let cut = Some(report.cuts.cut).filter(|cut| *cut > 0).map(|cut| plural(cut, "connection") + " cut");
    let left = Some(uncut).filter(|left| *left > 0).map(|left| notable(left, &(number(left) + " not cut")));
    cut.into_iter().chain(left).collect()
}

/// For whom not all is enforced, and what is missing there.
fn partial(report: &enforcement::Report) -> String {
    let first: Vec<_> = report.partial.iter().take(3).map(|partial| printable(&partial.workload)).collect();
    let more = report.partial_workloads.saturating_sub(first.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let layer = report.partial.first().map_or("", |partial| &partial.missing);
    format!(
        "{BAD}partial{BAD:#}: {}{more} without layer `{}` → docs/policy.md",
        first.join(", "),
        printable(layer)
    )
}

/// What should be 0, where it is not.
fn troubles(status: &Status) -> String {
    let mut text = String::new();
    for (count, thing) in [
        (status.records_shed, plural(status.records_shed, "record") + " shed"),
        (status.events_dropped, plural(status.events_dropped, "event") + " dropped"),
        (status.records_undecoded, plural(status.records_undecoded, "record") + " undecoded"),
        (status.unattributed, number(status.unattributed) + " unattributed"),
        (status.hooks_refused, plural(status.hooks_refused, "hook") + " unavailable"),
    ] {
        if count > 0 {
            text = text + "   " + &notable(count, &thing);
        }
    }
    if status.hooks_refused > 0 || status.state != State::Observing {
        text += " → cofferdam doctor";
    }
    text
}

fn notable(count: u64, text: &str) -> String {
    if count == 0 { text.to_owned() } else { format!("{NOTABLE}{text}{NOTABLE:#}") }
}

fn next(status: &Status) -> String {
    let steps: &[(&str, &str)] = match (status.state, status.interactions) {
        (State::Observing, 0) => &[
            ("cofferdam events", "watch what happens (nobody talked to anybody yet)"),
            ("cofferdam ps", "see who is here"),
        ],
        (State::Observing, _) => &[
            ("cofferdam map", "see who talks to whom"),
            ("cofferdam events", "watch it happen"),
            ("cofferdam ps", "see who is here"),
        ],
        (State::Blind | State::Stalled, _) => {
            &[("cofferdam doctor", "see what is wrong and what to do about it")]
        }
    };
    let mut text = String::new();
    for (at, (command, why)) in steps.iter().enumerate() {
        let head = if at == 0 { "Next:" } else { "" };
        let _ = writeln!(text, "  {head:<5}  {BOLD}{command:<16}{BOLD:#}  {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    use crate::{
        attribution::RuntimeStatus,
        config::Report,
        enforcement::{Cuts, Finding, Look, Mended, Outcome, Verified, What},
        event::Runtime,
        notify::ReceiverStatus,
    };

    fn status() -> Status {
        Status {
            schema_version: 1,
            version: "0.1.0".to_owned(),
            state: State::Observing,
            uptime_seconds: 12,
            heartbeat_age_seconds: 0.1,
            kernel: "6.12.8".to_owned(),
            runtimes: vec![RuntimeStatus {
                runtime: Runtime::Docker,
                user: None,
                endpoint: "/var/run/docker.sock".to_owned(),
                state: RuntimeState::Connected,
                version: Some("20.10.24".to_owned()),
                reason: None,
            }],
            containers: 14,
            privileged_containers: 2,
            interactions: 31,
            records_lost: 0,
            records_shed: 0,
            records_undecoded: 0,
            events_dropped: 0,
            unattributed: 0,
            config: Report {
                file: "/etc/cofferdam/config.yaml".to_owned(),
                since: "2026-11-24T10:00:00Z".parse().expect("a time"),
                problem: None,
                needs_restart: Vec::new(),
            },
            policies: enforcement::Report::default(),
            history: history::Report::default(),
            open_alerts: 0,
            receivers: Vec::new(),
            hooks_attached: 8,
            hooks_refused: 1,
            hooks_off: 1,
            syscall_workloads: None,
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn the_status_of_a_healthy_host_fits_in_two_lines() {
        let text = plain(&text(&status()));
        insta::assert_snapshot!(text, @r#"
        Cofferdam 0.1.0 · observing · up 12 s · kernel 6.12.8 · docker 20.10.24
          14 containers (2 privileged)   31 interactions   syscalls off   0 records lost   1 hook unavailable → cofferdam doctor
        "#);
    }

    #[test]
    fn the_documentation_shows_the_overview_as_it_is() {
        let overview = plain(&format!("{}{}", text(&status()), next(&status())));
        assert!(
            include_str!("../../../docs/cli.md").contains(&overview),
            "docs/cli.md shows another overview"
        );
    }

    #[test]
    fn what_to_do_next_depends_on_how_it_is() {
        insta::assert_snapshot!(plain(&next(&status())), @r#"
        Next:  cofferdam map     see who talks to whom
               cofferdam events  watch it happen
               cofferdam ps      see who is here
        "#);
        assert!(next(&Status { interactions: 0, ..status() }).contains("nobody talked"));
        assert!(next(&Status { state: State::Blind, ..status() }).contains("cofferdam doctor"));
    }

    #[test]
    fn a_broken_configuration_is_told_and_so_is_one_that_waits_for_a_restart() {
        let problem = Some("/etc/cofferdam/config.yaml:2:1: unknown key `legder_rows`".to_owned());
        let config = Report { problem, needs_restart: vec!["flows".to_owned()], ..status().config };
        insta::assert_snapshot!(plain(&text(&Status { config, ..status() })), @r#"
        Cofferdam 0.1.0 · observing · up 12 s · kernel 6.12.8 · docker 20.10.24
          14 containers (2 privileged)   31 interactions   syscalls off   0 records lost   1 hook unavailable → cofferdam doctor
          configuration broken: /etc/cofferdam/config.yaml:2:1: unknown key `legder_rows`
          the one of 2026-11-24T10:00:00Z stays in force → cofferdam config check
          restart needed for: flows
        "#);
    }

    /// Three that are enforced, and one in audit.
    fn enforcing() -> Status {
        let policies = enforcement::Report {
            folder: "/etc/cofferdam/policies".to_owned(),
            generation: 17,
            since: "2026-11-24T10:00:00Z".parse().expect("a time"),
            enforced: 3,
            audited: 1,
            rules: 14,
            ..enforcement::Report::default()
        };
        Status { policies, ..status() }
    }

    #[test]
    fn policies_in_force_are_told_as_the_documentation_has_it() {
        let text = plain(&text(&enforcing()));
        insta::assert_snapshot!(text, @r#"
        Cofferdam 0.1.0 · enforcing 3 policies · up 12 s · kernel 6.12.8 · docker 20.10.24
          14 containers (2 privileged)   31 interactions   syscalls off   0 records lost   1 hook unavailable → cofferdam doctor
          policies of 2026-11-24T10:00:00Z (generation 17)   3 enforced, 1 in audit   14 rules
        "#);
        assert!(include_str!("../../../docs/cli.md").contains(&text), "docs/cli.md shows another status");
    }

    #[test]
    fn a_broken_policy_is_told_with_what_stays_in_force() {
        let problem = Some("/etc/cofferdam/policies/shop.yaml:15:15: unknown key `form`".to_owned());
        let broken = enforcement::Report { problem, unresolved: 2, ..enforcing().policies };
        insta::assert_snapshot!(plain(&policies(&broken)), @r#"
          policies of 2026-11-24T10:00:00Z (generation 17)   3 enforced, 1 in audit   14 rules   2 cgroups unresolved
          policies broken: /etc/cofferdam/policies/shop.yaml:15:15: unknown key `form`
          generation 17 stays in force → cofferdam policy check
        "#);
        let none = plain(&policies(&enforcement::Report { generation: 0, ..broken }));
        assert!(none.ends_with("nothing of them is in force → cofferdam policy check\n"), "{none}");
    }

    #[test]
    fn connections_that_were_cut_are_told_and_so_are_those_that_could_not_be() {
        let cuts = Cuts { cut: 1_204, not_found: 2, refused: 1, ..Cuts::default() };
        insta::assert_snapshot!(plain(&policies(&enforcement::Report { cuts, ..enforcing().policies })), @r#"
          policies of 2026-11-24T10:00:00Z (generation 17)   3 enforced, 1 in audit   14 rules   1,204 connections cut   3 not cut
        "#);
    }

    #[test]
    fn what_is_verified_mended_and_noted_is_told() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let finding = |what, outcome, text: &str| Finding { what, outcome, count: 1, text: text.to_owned() };
        let foreign = "connect4: program 7 (theirs), which is not ours, runs before ours";
        let mut left = vec![finding(What::Foreign, Outcome::Noted, foreign)];
        let told = |left: &[Finding]| {
            let look = Look { left: left.to_vec(), mended: vec![finding(What::Hook, Outcome::Mended, "")] };
            let mut mended = Mended::default();
            mended.add(&look, at(1_795_600_000));
            let before = Verified::after(None, Look::default(), at(1_795_600_000));
            let verified = Some(Verified::after(Some(&before), look, at(1_795_600_010)));
            plain(&policies(&enforcement::Report { verified, mended, ..enforcing().policies }))
        };
        insta::assert_snapshot!(told(&left), @r#"
          policies of 2026-11-24T10:00:00Z (generation 17)   3 enforced, 1 in audit   14 rules   verified at 2026-11-25T09:46:50Z
          mended: 1 hook; last at 2026-11-25T09:46:40Z
          noted: connect4: program 7 (theirs), which is not ours, runs before ours
        "#);
        left.push(finding(
            What::Pin,
            Outcome::Open,
            "the pin of connect4 was gone, and cannot be mended: read-only",
        ));
        insta::assert_snapshot!(told(&left), @r#"
          policies of 2026-11-24T10:00:00Z (generation 17)   3 enforced, 1 in audit   14 rules   verified at 2026-11-25T09:46:40Z
          not enforced as they say: the pin of connect4 was gone, and cannot be mended: read-only → cofferdam doctor
          mended: 1 hook; last at 2026-11-25T09:46:40Z
          noted: connect4: program 7 (theirs), which is not ours, runs before ours
        "#);
    }

    #[test]
    fn policies_that_wait_to_be_confirmed_are_told_with_the_time_that_is_left() {
        let names =
            ["a", "b", "c", "d", "e", "f"].map(|name| format!("{name}.yaml").try_into().expect("a name"));
        let waiting = |count: usize| enforcement::Report {
            trial: Some(Waiting {
                id: 1,
                files: names[..count].to_vec(),
                seconds_left: 250,
                guarded: count > 1,
            }),
            ..enforcing().policies
        };
        insta::assert_snapshot!(plain(&policies(&waiting(1))), @r#"
          policies of 2026-11-24T10:00:00Z (generation 17)   3 enforced, 1 in audit   14 rules
          not confirmed: a.yaml; taken back in 4 m → cofferdam policy confirm, or revert
        "#);
        let many = plain(&policies(&waiting(6)));
        assert!(
            many.contains(
                "a.yaml, b.yaml, c.yaml, d.yaml and 2 more; taken back in 4 m, or when they deny what"
            ),
            "{many}"
        );
    }

    #[test]
    fn policies_in_the_shadow_are_told() {
        let files = vec!["a.yaml".to_owned().try_into().expect("a name")];
        let shadow = Some(Shadowing { files, since: enforcing().policies.since, of: Vec::new() });
        let report = enforcement::Report { shadow, generation: 0, ..enforcement::Report::default() };
        assert_eq!(plain(&policies(&report)), "  in the shadow: a.yaml → cofferdam policy shadow\n");
    }

    #[test]
    fn what_policies_only_report_is_observed_and_a_default_that_denies_is_enforced() {
        let audited = enforcement::Report { enforced: 0, ..enforcing().policies };
        assert_eq!(audited.word(), "observing");
        let default = enforcement::Report { denies_by_default: true, audited: 0, ..audited };
        assert_eq!(default.word(), "enforcing what is denied by default");
        assert_eq!(enforcement::Report { generation: 0, ..default }.word(), "observing");
    }

    #[test]
    fn what_is_wrong_is_never_left_out() {
        let ill = Status {
            state: State::Stalled,
            records_lost: 1_204,
            records_shed: 30_000,
            events_dropped: 3,
            unattributed: 1,
            runtimes: Vec::new(),
            ..status()
        };
        insta::assert_snapshot!(plain(&text(&ill)), @r#"
        Cofferdam 0.1.0 · stalled: the pipeline does not turn · up 12 s · kernel 6.12.8 · no container runtime
          14 containers (2 privileged)   31 interactions   syscalls off   1,204 records lost   30,000 records shed   3 events dropped   1 unattributed   1 hook unavailable → cofferdam doctor
        "#);
    }

    #[test]
    fn open_alerts_are_told_and_so_is_who_does_not_get_them() {
        let mut status = status();
        status.open_alerts = 2;
        status.receivers = vec![ReceiverStatus {
            name: "webhook-2".to_owned(),
            kind: "webhook".to_owned(),
            place: "http://127.0.0.1:8080".to_owned(),
            sent: 5,
            failed: 7,
            dropped: 3,
            waiting: 1,
            last_error: Some("it answered 500".to_owned()),
            since: "2026-11-24T10:00:00Z".parse().expect("a time"),
        }];
        let shown = anstream::adapter::strip_str(&text(&status)).to_string();
        let lines = "  2 alerts open → cofferdam alerts\n  alerts not sent to webhook-2 (http://127.0.0.1:8080): it answered 500\n  \
                     3 alerts dropped for webhook-2\n";
        assert!(shown.contains(lines), "{shown}");
    }

    #[test]
    fn a_history_that_lacks_something_is_told() {
        let mut status = status();
        status.history = history::Report {
            problem: Some("cannot write /var/lib/cofferdam/history.db: database or disk is full".to_owned()),
            set_aside: Some("/var/lib/cofferdam/history.db.damaged-1".into()),
            lost_events: 1_204,
            ..history::Report::default()
        };
        let shown = anstream::adapter::strip_str(&text(&status)).to_string();
        for line in [
            "  history not written: cannot write /var/lib/cofferdam/history.db: database or disk is full\n",
            "  history incomplete: 1,204 rows lost\n",
            "  history damaged: begun anew, the old one is /var/lib/cofferdam/history.db.damaged-1\n",
        ] {
            assert!(shown.contains(line), "{shown}");
        }
    }
}
