//! `cofferdam policy diff`: for whom policies change something, against those in force.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::{Format, candidate};
use crate::{
    api::Compared,
    cli::{
        Client, Failure,
        output::{ago, is_terminal, number, plural, print, print_json, printable},
        why::{ALLOWED, DENIED, REPORTED},
    },
    event::Verdict,
    policy::{
        RuleInfo,
        diff::{Change, Decided, Seen},
    },
};

/// What is compared.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Files and folders that would be put into the daemon's folder. Without any: the folder as it is now.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// For whom it is written.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let candidate = candidate::load(&arguments.paths)?;
    let compared: Compared = client.post("/v1/policy/diff", &candidate)?;
    match arguments.format {
        Format::Text => print(&text(&compared, Timestamp::now(), is_terminal())),
        Format::Json => print_json(&compared),
    }
}

/// One line for each change, and how many there are.
pub(in crate::cli) fn text(compared: &Compared, now: Timestamp, for_people: bool) -> String {
    let Compared { generation, problem, comparison, .. } = compared;
    let mut text: String = comparison.changes.iter().map(|change| line(change, now, for_people)).collect();
    if comparison.left_out > 0 {
        text += &format!("… and {} that are not shown\n", plural(comparison.left_out, "change"));
    }
    if comparison.not_compared > 0 {
        text +=
            &format!("{} were not compared: there are too many\n", plural(comparison.not_compared, "pair"));
    }
    if let Some(problem) = problem {
        text += &format!(
            "{DENIED}policies broken{DENIED:#}: {}\nso this is against generation {generation}, not against the folder\n",
            printable(problem)
        );
    }
    let stricter = comparison.changes.iter().filter(|change| change.after.verdict > change.before.verdict);
    let stricter = u64::try_from(stricter.count()).unwrap_or(u64::MAX);
    let all = comparison.changes.len() + comparison.left_out;
    text + &match (all, comparison.not_compared) {
        (0, 0) => "Nothing changes for anybody who is here or was seen.\n".to_owned(),
        (0, _) => "Nothing changes for those who were compared.\n".to_owned(),
        _ => format!("{}, of which {} stricter\n", plural(all, "change"), number(stricter)),
    }
}

/// `shop/* -> shop/db  tcp/5432: allow -> deny (shop#1, FILE:4)  seen 3 times, the last 41 s ago`
fn line(change: &Change, now: Timestamp, for_people: bool) -> String {
    let Change { source, target, services, services_left_out, before, after, seen } = change;
    let mut services = services.join(", ");
    if *services_left_out > 0 {
        services += &format!(" and {services_left_out} more");
    }
    format!(
        "{} -> {}  {}: {} -> {} ({}){}\n",
        printable(&source.label()),
        printable(&target.label()),
        printable(&services),
        styled(before.verdict),
        styled(after.verdict),
        printable(&reason(before, after)),
        seen.map(|seen| when(seen, now, for_people)).unwrap_or_default()
    )
}

pub(super) fn styled(verdict: Verdict) -> String {
    let style = match verdict {
        Verdict::Allow => ALLOWED,
        Verdict::Audit => REPORTED,
        Verdict::Deny => DENIED,
    };
    format!("{style}{verdict}{style:#}")
}

/// The rule that decides; where none does, the one that did.
fn reason(before: &Decided, after: &Decided) -> String {
    match (&after.rule, &before.rule) {
        (Some(rule), _) => named(rule),
        (None, Some(rule)) => format!("the default; before {}", named(rule)),
        (None, None) => "the default".to_owned(),
    }
}

/// `shop#1, FILE:4`
pub(super) fn named(rule: &RuleInfo) -> String {
    format!("{}, {}:{}", rule.label, rule.place.file.display(), rule.place.line)
}

pub(super) fn when(seen: Seen, now: Timestamp, for_people: bool) -> String {
    let last = match ago(seen.last, now, for_people) {
        last if last == "now" || !for_people => last,
        last => last + " ago",
    };
    format!("  seen {}, the last {last}", plural(seen.attempts, "time"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        event::Workload,
        policy::{
            Plan,
            diff::{Comparison, Lane, Parties, compare},
            explain::End,
            samples::{self, OPEN, SHOP},
        },
        sink::samples::{api, container, web},
    };

    fn plan(text: &str) -> Plan {
        samples::plan("/etc/cofferdam/policies/shop.yaml", text, OPEN)
    }

    fn compared(before: &str, after: &str) -> Compared {
        let db: Arc<Workload> = container("db", "dbdbdbdbdbdb");
        let web = web();
        let seen = Seen { attempts: 412, last: "2026-11-24T10:00:00Z".parse().unwrap() };
        let lane =
            Lane { source: End::Workload(&web), target: End::Workload(&db), service: (6, 5_432), seen };
        let parties = Parties { workloads: vec![web.clone(), api(), db.clone()] };
        let comparison = compare(&mut plan(before), &mut plan(after), parties, &[lane]).unwrap();
        let folder = "/etc/cofferdam/policies".into();
        Compared { schema_version: 1, generation: 17, folder, problem: None, comparison }
    }

    fn shown(compared: &Compared) -> String {
        let now = "2026-11-24T10:00:41Z".parse().unwrap();
        anstream::adapter::strip_str(&text(compared, now, true)).to_string()
    }

    #[test]
    fn changes_are_told_as_the_documentation_has_it() {
        let shown = shown(&compared("", SHOP));
        insta::assert_snapshot!(shown, @r#"
        outside (all others), shop/web -> shop/db  any: allow -> deny (shop#1, /etc/cofferdam/policies/shop.yaml:4)  seen 412 times, the last 41 s ago
        shop/api -> shop/db  all but tcp/5432: allow -> deny (shop#1, /etc/cofferdam/policies/shop.yaml:4)
        2 changes, of which 2 stricter
        "#);
        assert!(include_str!("../../../../docs/policy.md").contains(&shown), "docs/policy.md lacks\n{shown}");
        insta::assert_snapshot!(self::shown(&compared(SHOP, "")), @r#"
        outside (all others), shop/web -> shop/db  any: deny -> allow (the default; before shop#1, /etc/cofferdam/policies/shop.yaml:4)  seen 412 times, the last 41 s ago
        shop/api -> shop/db  all but tcp/5432: deny -> allow (the default; before shop#1, /etc/cofferdam/policies/shop.yaml:4)
        2 changes, of which 0 stricter
        "#);
    }

    #[test]
    fn that_nothing_changes_and_what_was_left_out_is_said() {
        assert_eq!(shown(&compared(SHOP, SHOP)), "Nothing changes for anybody who is here or was seen.\n");
        let comparison = Comparison { left_out: 3, not_compared: 1_000, ..Comparison::default() };
        let problem = Some("shop.yaml:3:1: \u{1b}[2J".to_owned());
        let shown = shown(&Compared { comparison, problem, ..compared("", "") });
        insta::assert_snapshot!(shown, @r"
        … and 3 changes that are not shown
        1,000 pairs were not compared: there are too many
        policies broken: shop.yaml:3:1: \u{1b}[2J
        so this is against generation 17, not against the folder
        3 changes, of which 0 stricter
        ");
    }
}
