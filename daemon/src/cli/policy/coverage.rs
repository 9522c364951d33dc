//! `cofferdam policy coverage`: which traffic no rule explains.

use clap::Args;
use jiff::Timestamp;

use super::{
    Format,
    diff::{named, styled, when},
    learn::share,
};
use crate::{
    api::{Span, Within},
    baseline::coverage::{Coverage, Uncovered},
    cli::{
        Client, Failure,
        output::{is_terminal, plural, print, print_json, printable},
        question,
        since::since,
    },
    policy::diff::Seen,
};

/// Of what.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// What was seen since then: `15m`, `2h`, `7d`, or a time as RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = since, default_value = "7d")]
    since: Timestamp,
    /// And until then. [default: now]
    #[arg(long, value_name = "TIME", value_parser = since)]
    until: Option<Timestamp>,
    /// Exit code 10 if not all is explained.
    #[arg(long)]
    exit_code: bool,
    /// For whom it is written.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let Arguments { since, until, exit_code, format } = *arguments;
    let path = question("/v1/policy/coverage", &Span::new(since, until))?;
    let coverage: Within<Coverage> = client.get_slowly(&path)?;
    match format {
        Format::Text => print(&text(&coverage.found, Timestamp::now(), is_terminal()))?,
        Format::Json => print_json(&coverage)?,
    }
    if exit_code && !coverage.found.is_whole() { Err(Failure::Answered) } else { Ok(()) }
}

/// One line for each interaction that is not explained, and how much is.
fn text(coverage: &Coverage, now: Timestamp, for_people: bool) -> String {
    let Coverage { interactions, attempts, explained, uncovered, left_out, never_opened, not_judged } =
        coverage;
    let mut text: String = uncovered.iter().map(|it| line(it, now, for_people)).collect();
    if *left_out > 0 {
        text += &format!("… and {} that are not shown\n", plural(*left_out, "more"));
    }
    if *never_opened > 0 {
        text += &format!("{} never opened and are left out\n", plural(*never_opened, "interaction"));
    }
    if *not_judged > 0 {
        text += &format!(
            "{} were not judged: an end stands for many, or there is no room\n",
            plural(*not_judged, "interaction")
        );
    }
    let (interactions, attempts_in_words) =
        (plural(*interactions, "interaction"), plural(*attempts, "attempt"));
    text + &match attempts {
        0 => "nothing was seen that rules could explain\n".to_owned(),
        _ if coverage.is_whole() => {
            format!(
                "rules explain all of {interactions} ({attempts_in_words}): nothing that was seen is lost when all are enforced\n"
            )
        }
        _ => format!(
            "rules explain {} % of {attempts_in_words} of {interactions}; not {}\n",
            share(*explained, *attempts),
            plural(uncovered.len() + left_out, "interaction")
        ),
    }
}

/// `shop/web -> shop/db  tcp/5432: allow by the default  seen 3 times, the last 41 s ago`
fn line(uncovered: &Uncovered, now: Timestamp, for_people: bool) -> String {
    let Uncovered { source, target, protocol, port, decided, attempts, last_seen } = uncovered;
    let by = match &decided.rule {
        Some(rule) => format!(", would be denied ({})", named(rule)),
        None => " by the default".to_owned(),
    };
    format!(
        "{} -> {}  {}: {}{}{}\n",
        printable(&source.to_string()),
        printable(&target.to_string()),
        protocol.service(*port),
        styled(decided.verdict),
        printable(&by),
        when(Seen { attempts: *attempts, last: *last_seen }, now, for_people),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        baseline::coverage::coverage,
        history::Past,
        interaction::Edge,
        metrics::samples::edge,
        policy::samples::{self, OPEN},
        sink::samples::container,
    };

    const AUDIT: &str = "policy: shop\nmode: audit\nrules:\n  - to: shop/db\n    allow: [{from: shop/api}]\n  - to: shop/cache\n    allow: [{from: shop/web}]\n";

    fn shown(edges: impl IntoIterator<Item = Edge>) -> String {
        let past: Vec<_> = edges.into_iter().map(|edge| Past { edge, minutes: 1, days: 1 }).collect();
        let mut plan = samples::plan("/etc/cofferdam/policies/shop.yaml", AUDIT, OPEN);
        let now = "2026-11-24T10:00:41Z".parse().unwrap();
        anstream::adapter::strip_str(&text(&coverage(&past, &mut plan), now, true)).to_string()
    }

    #[test]
    fn what_is_not_explained_is_told_as_the_documentation_has_it() {
        let db =
            Edge { target: container("db", "dbdbdbdbdbdb"), port: 5_432, attempts: 3, flows: 3, ..edge() };
        let cache =
            Edge { target: container("cache", "cacacacacaca"), port: 6_379, attempts: 40_790, ..edge() };
        let shown = shown([edge(), db, cache]);
        insta::assert_snapshot!(shown, @r"
        shop/web -> shop/api  tcp/8080: allow by the default  seen 415 times, the last 41 s ago
        shop/web -> shop/db  tcp/5432: audit, would be denied (shop#1, /etc/cofferdam/policies/shop.yaml:4)  seen 3 times, the last 41 s ago
        rules explain 98.98 % of 41,208 attempts of 3 interactions; not 2 interactions
        ");
        assert!(include_str!("../../../../docs/policy.md").contains(&shown), "docs/policy.md lacks\n{shown}");
    }

    #[test]
    fn when_all_is_explained_it_is_said_that_nothing_is_lost() {
        let cache = Edge { target: container("cache", "cacacacacaca"), port: 6_379, ..edge() };
        insta::assert_snapshot!(shown([cache]), @"rules explain all of 1 interaction (415 attempts): nothing that was seen is lost when all are enforced");
        insta::assert_snapshot!(shown([]), @"nothing was seen that rules could explain");
    }
}
