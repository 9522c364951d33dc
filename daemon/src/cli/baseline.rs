//! `cofferdam baseline`: what is usual, and what is new against it.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{
    Client, Failure,
    output::{ago, is_terminal, number, plural, print, print_json, table},
    policy::Format,
    question,
    since::since,
};
use crate::{
    api::{Span, Within},
    baseline::diff::{Difference, Interaction},
};

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what was seen since some time and never before, and what was seen before and not since.
    Diff(Spans),
}

/// What is compared.
#[derive(Args, Debug)]
struct Spans {
    /// What was seen since then is compared with all before: `15m`, `2h`, `7d`, or a time as RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = since, default_value = "1d")]
    since: Timestamp,
    /// And until then. [default: now]
    #[arg(long, value_name = "TIME", value_parser = since)]
    until: Option<Timestamp>,
    /// For whom it is written.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let Command::Diff(Spans { since, until, format }) = &arguments.command;
    let span = Span::new(*since, *until);
    let found: Within<Difference> = client.get_slowly(&question("/v1/baseline/diff", &span)?)?;
    match format {
        Format::Text => print(&text(&found.found, Timestamp::now(), is_terminal())),
        Format::Json => print_json(&found),
    }
}

/// A table of what is new and what is gone, and how much is neither.
fn text(difference: &Difference, now: Timestamp, for_people: bool) -> String {
    let Difference { new, gone, known, left_out } = difference;
    let row = |what: &str, it: &Interaction| {
        [
            what.to_owned(),
            it.source.clone(),
            it.target.clone(),
            it.service.clone(),
            number(it.attempts),
            ago(it.first_seen, now, for_people),
            ago(it.last_seen, now, for_people),
        ]
    };
    let new_rows = new.iter().map(|interaction| row("+", interaction));
    let rows: Vec<_> = new_rows.chain(gone.iter().map(|interaction| row("-", interaction))).collect();
    let mut text = String::new();
    if !rows.is_empty() {
        text += &table(["", "SOURCE", "TARGET", "PORT", "ATTEMPTS", "FIRST", "LAST"], &[4], rows);
    }
    if *left_out > 0 {
        text += &format!("… and {} that are not shown\n", plural(*left_out, "more"));
    }
    let (new, gone, known) = (number(new.len() as u64), number(gone.len() as u64), number(*known as u64));
    text + &format!("{new} new (+), {gone} gone (-), {known} as before\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interaction(target: &str, service: &str, attempts: u64) -> Interaction {
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        Interaction {
            source: "shop/web".to_owned(),
            target: target.to_owned(),
            service: service.to_owned(),
            attempts,
            first_seen: at("2026-11-24T09:00:00Z"),
            last_seen: at("2026-11-24T10:00:00Z"),
        }
    }

    #[test]
    fn what_is_new_and_gone_is_told_as_the_documentation_has_it() {
        let difference = Difference {
            new: vec![interaction("shop/db", "tcp/5432", 1_204)],
            gone: vec![interaction("outside api.example.org", "tcp/443", 3)],
            known: 31,
            left_out: 0,
        };
        let now = "2026-11-24T10:00:41Z".parse().unwrap();
        let shown = text(&difference, now, true);
        insta::assert_snapshot!(shown, @r"
           SOURCE    TARGET                   PORT      ATTEMPTS  FIRST  LAST
        +  shop/web  shop/db                  tcp/5432     1,204  1 h    41 s
        -  shop/web  outside api.example.org  tcp/443          3  1 h    41 s
        1 new (+), 1 gone (-), 31 as before
        ");
        assert!(include_str!("../../../docs/cli.md").contains(&shown), "docs/cli.md lacks\n{shown}");
    }

    #[test]
    fn where_nothing_is_new_there_is_one_line() {
        let same = Difference { known: 2, ..Difference::default() };
        insta::assert_snapshot!(text(&same, Timestamp::UNIX_EPOCH, true), @"0 new (+), 0 gone (-), 2 as before");
    }
}
