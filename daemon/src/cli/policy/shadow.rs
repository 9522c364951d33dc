//! `cofferdam policy shadow`: what policies would have decided, beside those in force.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use jiff::Timestamp;

use super::{
    Format, candidate,
    diff::{named, styled, when},
};
use crate::{
    api::{ForShadow, InShadow, ShadowChanged},
    cli::{
        Client, Failure,
        output::{is_terminal, number, plural, print, print_json, printable, span},
    },
    enforcement::{Deviation, Shadowed},
    policy::diff::Seen,
};

/// What is put into the shadow, or asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Files and folders whose policies are put into the shadow, as if they were in the daemon's folder. Without any: what
    /// those that are there would have decided.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only interactions of this workload: its name, container name, project, or the beginning of its id.
    #[arg(long, value_name = "WORKLOAD", requires = "paths")]
    of: Vec<String>,
    /// Takes them out of the shadow.
    #[arg(long, conflicts_with_all = ["paths", "format"])]
    end: bool,
    /// For whom it is written.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT", conflicts_with = "paths")]
    format: Format,
}

pub(super) fn run(arguments: Arguments, client: &Client) -> Result<(), Failure> {
    if arguments.end {
        let _: ShadowChanged = client.post("/v1/policy/shadow/end", &())?;
        return print("No policies are in the shadow any more.\n");
    }
    if arguments.paths.is_empty() {
        let found: InShadow = client.get("/v1/policy/shadow")?;
        return match arguments.format {
            Format::Text => print(&text(&found.shadowed, Timestamp::now(), is_terminal())),
            Format::Json => print_json(&found),
        };
    }
    let files = candidate::load(&arguments.paths)?.files;
    if files.is_empty() {
        return Err(Failure::Failed(anyhow!("there are no files of policies")));
    }
    let count = plural(files.len(), "file");
    let _: ShadowChanged = client.post("/v1/policy/shadow", &ForShadow { files, of: arguments.of })?;
    print(&format!(
        "{count} in the shadow: nothing is judged by it. What it would do: cofferdam policy shadow\n"
    ))
}

/// One line for each finding, and how many there are.
fn text(shadowed: &Shadowed, now: Timestamp, for_people: bool) -> String {
    let Shadowed { shadowing, interactions, findings, left_out, not_judged } = shadowed;
    let mut text: String = findings.iter().map(|finding| line(finding, now, for_people)).collect();
    if *left_out > 0 {
        text += &format!("… and {} that are not shown\n", plural(*left_out, "more"));
    }
    if *not_judged > 0 {
        text +=
            &format!("{} were not judged: the policies have no room\n", plural(*not_judged, "interaction"));
    }
    let files: Vec<&str> = shadowing.files.iter().map(|name| &**name).collect();
    let since = now.duration_since(shadowing.since).as_secs();
    let stricter = findings.iter().filter(|finding| finding.would_be.verdict > finding.was).count();
    text + &format!(
        "{}, in the shadow for {}: of {} {} would have been decided otherwise, {} stricter\n",
        printable(&files.join(", ")),
        span(since.try_into().unwrap_or(0)),
        plural(*interactions, "interaction"),
        number((findings.len() + left_out) as u64),
        number(stricter as u64),
    )
}

/// `shop/web -> shop/db  tcp/5432: allow -> deny (shop#1, FILE:4)  seen 3 times, the last 41 s ago`
pub(super) fn line(finding: &Deviation, now: Timestamp, for_people: bool) -> String {
    let Deviation { source, target, protocol, port, was, would_be, attempts, last_seen } = finding;
    let rule = would_be.rule.as_ref().map_or_else(|| "the default".to_owned(), named);
    let seen = match attempts {
        0 => "  on a connection that was open before".to_owned(),
        _ => when(Seen { attempts: *attempts, last: *last_seen }, now, for_people),
    };
    format!(
        "{} -> {}  {}: {} -> {} ({}){seen}\n",
        printable(&source.to_string()),
        printable(&target.to_string()),
        protocol.service(*port),
        styled(*was),
        styled(would_be.verdict),
        printable(&rule),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        enforcement::Shadowing,
        event::{Protocol, Verdict},
        policy::{
            diff::{Decided, decide},
            explain::End,
            samples::{self, OPEN, SHOP},
        },
        sink::samples::{container, web},
    };

    fn would_be() -> Decided {
        let mut plan = samples::plan("/etc/cofferdam/policies/shop.yaml", SHOP, OPEN);
        let db = container("db", "dbdbdbdbdbdb");
        decide(&mut plan, End::Workload(&web()), End::Workload(&db), (6, 5_432)).unwrap()
    }

    #[test]
    fn findings_are_told_as_the_documentation_has_it() {
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let finding = |attempts| Deviation {
            source: web(),
            target: container("db", "dbdbdbdbdbdb"),
            protocol: Protocol::Tcp,
            port: 5_432,
            was: Verdict::Allow,
            would_be: would_be(),
            attempts,
            last_seen: at("2026-11-24T10:00:00Z"),
        };
        let files = vec!["shop.yaml".to_owned().try_into().unwrap()];
        let since = at("2026-11-24T09:55:41Z");
        let shadowed = Shadowed {
            shadowing: Shadowing { files, since, of: Vec::new() },
            interactions: 34,
            findings: vec![finding(412), finding(0)],
            left_out: 0,
            not_judged: 0,
        };
        let shown =
            anstream::adapter::strip_str(&text(&shadowed, at("2026-11-24T10:00:41Z"), true)).to_string();
        insta::assert_snapshot!(shown, @r"
        shop/web -> shop/db  tcp/5432: allow -> deny (shop#1, /etc/cofferdam/policies/shop.yaml:4)  seen 412 times, the last 41 s ago
        shop/web -> shop/db  tcp/5432: allow -> deny (shop#1, /etc/cofferdam/policies/shop.yaml:4)  on a connection that was open before
        shop.yaml, in the shadow for 5 m: of 34 interactions 2 would have been decided otherwise, 2 stricter
        ");
        let first = shown.lines().next().unwrap();
        assert!(include_str!("../../../../docs/policy.md").contains(first), "docs/policy.md lacks\n{first}");
    }
}
