//! `cofferdam policy simulate`: what policies would have decided of what was seen.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use jiff::Timestamp;

use super::{Format, candidate, shadow::line};
use crate::{
    api::{ForSimulation, Span, Within},
    cli::{
        Client, Failure,
        output::{ago, is_terminal, number, plural, print, print_json, printable, span},
        since::since,
    },
    enforcement::{Affected, Simulated},
};

/// Of what they are asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Files and folders whose policies are asked, as if they were in the daemon's folder.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// What was seen since then: `15m`, `2h`, `7d`, or a time as RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = since, default_value = "7d")]
    since: Timestamp,
    /// And until then. [default: now]
    #[arg(long, value_name = "TIME", value_parser = since)]
    until: Option<Timestamp>,
    /// Only interactions of this workload: its name, container name, project, or the beginning of its id.
    #[arg(long, value_name = "WORKLOAD")]
    of: Vec<String>,
    /// Exit code 10 if something would be denied that passed.
    #[arg(long)]
    exit_code: bool,
    /// For whom it is written.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
}

pub(super) fn run(arguments: Arguments, client: &Client) -> Result<(), Failure> {
    let Arguments { paths, since, until, of, exit_code, format } = arguments;
    let files = candidate::load(&paths)?.files;
    if files.is_empty() {
        return Err(Failure::Failed(anyhow!("there are no files of policies")));
    }
    let Span { since, until } = Span::new(since, until);
    let simulated: Within<Simulated> =
        client.post("/v1/policy/simulate", &ForSimulation { files, since, until, of })?;
    match format {
        Format::Text => print(&text(&simulated, Timestamp::now(), is_terminal()))?,
        Format::Json => print_json(&simulated)?,
    }
    if exit_code && simulated.found.newly_denied > 0 { Err(Failure::Answered) } else { Ok(()) }
}

/// One line for each finding, then one for each workload, and how many there are.
fn text(simulated: &Within<Simulated>, now: Timestamp, for_people: bool) -> String {
    let Within { since, until, found, .. } = simulated;
    let Simulated { interactions, attempts, findings, left_out, newly_denied, not_judged, .. } = found;
    let mut text: String = findings.iter().map(|finding| line(finding, now, for_people)).collect();
    if *left_out > 0 {
        text += &format!("… and {} that are not shown\n", plural(*left_out, "more"));
    }
    if !found.workloads.is_empty() {
        text += "by workload:\n";
    }
    for Affected { workload, newly_denied, newly_allowed, reported_otherwise, last_seen } in &found.workloads
    {
        let counts = [
            (newly_denied, "would be denied"),
            (newly_allowed, "would pass"),
            (reported_otherwise, "would be reported otherwise"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| **count > 0);
        let mut counts: Vec<_> = counts.map(|(count, what)| format!("{} {what}", number(*count))).collect();
        if counts.is_empty() {
            counts.push("a connection that was open before would be denied".to_owned());
        }
        let last = match ago(*last_seen, now, for_people) {
            last if last == "now" || !for_people => last,
            last => last + " ago",
        };
        text += &format!("  {}: {}, the last {last}\n", printable(workload), counts.join(", "));
    }
    if found.workloads_left_out > 0 {
        text += &format!("  … and {}\n", plural(found.workloads_left_out, "more workload"));
    }
    if *not_judged > 0 {
        text += &format!(
            "{} were not judged: an end stands for many, or there is no room\n",
            plural(*not_judged, "interaction")
        );
    }
    let within = u64::try_from(until.duration_since(*since).as_secs()).unwrap_or(0);
    text + &format!(
        "of {} ({}) within {}: {} would have been decided otherwise, of which {} newly denied\n",
        plural(*interactions, "interaction"),
        plural(*attempts, "attempt"),
        span(within),
        number((findings.len() + left_out) as u64),
        number(*newly_denied as u64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        enforcement::Deviation,
        event::{Protocol, Verdict},
        policy::{
            diff::decide,
            explain::End,
            samples::{self, OPEN, SHOP},
        },
        sink::samples::{container, web},
    };

    fn simulated() -> Within<Simulated> {
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let mut plan = samples::plan("/etc/cofferdam/policies/shop.yaml", SHOP, OPEN);
        let db = container("db", "dbdbdbdbdbdb");
        let would_be = decide(&mut plan, End::Workload(&web()), End::Workload(&db), (6, 5_432)).unwrap();
        let last_seen = at("2026-11-24T10:00:00Z");
        let finding = Deviation {
            source: web(),
            target: db,
            protocol: Protocol::Tcp,
            port: 5_432,
            was: Verdict::Allow,
            would_be,
            attempts: 412,
            last_seen,
        };
        let affected = Affected {
            workload: "shop/web".to_owned(),
            newly_denied: 412,
            newly_allowed: 0,
            reported_otherwise: 0,
            last_seen,
        };
        let found = Simulated {
            interactions: 34,
            attempts: 41_208,
            findings: vec![finding],
            newly_denied: 1,
            workloads: vec![affected],
            ..Simulated::default()
        };
        Within { schema_version: 1, since: at("2026-11-17T10:00:00Z"), until: last_seen, found }
    }

    #[test]
    fn findings_are_told_as_the_documentation_has_it() {
        let now = "2026-11-24T10:00:41Z".parse().unwrap();
        let shown = anstream::adapter::strip_str(&text(&simulated(), now, true)).to_string();
        insta::assert_snapshot!(shown, @r"
        shop/web -> shop/db  tcp/5432: allow -> deny (shop#1, /etc/cofferdam/policies/shop.yaml:4)  seen 412 times, the last 41 s ago
        by workload:
          shop/web: 412 would be denied, the last 41 s ago
        of 34 interactions (41,208 attempts) within 7 d: 1 would have been decided otherwise, of which 1 newly denied
        ");
        assert!(include_str!("../../../../docs/policy.md").contains(&shown), "docs/policy.md lacks\n{shown}");
    }

    #[test]
    fn where_nothing_is_otherwise_there_is_one_line() {
        let Within { schema_version, since, until, .. } = simulated();
        let found = Simulated { interactions: 1, attempts: 1, ..Simulated::default() };
        let nothing = Within { schema_version, since, until, found };
        insta::assert_snapshot!(text(&nothing, until, true), @"of 1 interaction (1 attempt) within 7 d: 0 would have been decided otherwise, of which 0 newly denied");
    }
}
