//! `cofferdam events`: what happens, as it happens.

use std::{fmt::Write as _, ops::ControlFlow};

use anyhow::{Context, anyhow};
use clap::{Args, builder::PossibleValuesParser};

use super::{
    Client, Failure,
    output::{is_terminal, print, print_json_text, printable},
    question,
    within::Within,
};
use crate::{
    api::EventsQuery,
    event::{Event, EventKind},
    sink::KINDS,
};

/// What is said of lines that are none of ours.
const NOT_UNDERSTOOD: &str = "an event of the daemon is not understood; is it of another version?";

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Follow: the default, unless a time is named.
    #[arg(short, long, conflicts_with_all = ["since", "until"])]
    follow: bool,
    #[command(flatten)]
    within: Within,
    /// One JSON object per line (docs/events.md).
    #[arg(long)]
    json: bool,
    /// Only events of this workload: its name, its container's name, its project, its DNS name, or the beginning of
    /// its id.
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
    /// Only events of this kind; may be given more than once, or with commas.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = PossibleValuesParser::new(KINDS))]
    kind: Vec<String>,
    /// End after so many events; notices of loss do not count.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let mut left = arguments.count.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(());
    }
    let path = path(arguments)?;
    if arguments.within.is_some() {
        return show(&client.text(&path)?, arguments, &mut left).map(drop);
    }
    client.lines(&path, |lines| show(lines, arguments, &mut left))
}

/// Shows whole lines, of which `left` at most.
fn show(lines: &[u8], arguments: &Arguments, left: &mut u64) -> Result<ControlFlow<()>, Failure> {
    let lines = std::str::from_utf8(lines).context(NOT_UNDERSTOOD)?;
    if arguments.json && arguments.count.is_none() {
        // Whoever reads this parses it: parsing it here as well would cost more than all that was done before.
        if !lines.lines().all(is_like_an_event) {
            return Err(anyhow!(NOT_UNDERSTOOD).into());
        }
        print_json_text(lines)?;
        return Ok(ControlFlow::Continue(()));
    }
    let mut text = String::new();
    for line in lines.lines() {
        let event: Event = serde_json::from_str(line).context(NOT_UNDERSTOOD)?;
        if arguments.json {
            text.extend([line, "\n"]);
        } else {
            text += &row(&event, is_terminal() && !arguments.within.is_some());
        }
        if !matches!(event.kind, EventKind::Lost(_)) {
            *left -= 1;
        }
        if *left == 0 {
            break;
        }
    }
    if arguments.json {
        print_json_text(&text)?;
    } else {
        print(&text)?;
    }
    Ok(if *left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}

/// Whether a line begins and ends as events do, of any version.
fn is_like_an_event(line: &str) -> bool {
    line.starts_with(r#"{"schema_version":"#) && line.ends_with('}')
}

fn path(arguments: &Arguments) -> Result<String, Failure> {
    let kind = (!arguments.kind.is_empty()).then(|| arguments.kind.join(","));
    let Within { since, until } = arguments.within;
    question("/v1/events", &EventsQuery { since, until, of: arguments.of.clone(), kind })
}

/// Time, kind, sentence, id. Somebody who looks needs no date.
pub(super) fn row(event: &Event, for_people: bool) -> String {
    let format = if for_people { "%H:%M:%S%.3f" } else { "%Y-%m-%dT%H:%M:%S%.9fZ" };
    let time = event.time.strftime(format);
    let mut row = String::new();
    // Writing to a string does not fail.
    let _ = write!(row, "{time}  {:<12}  {}", event.kind.name(), printable(&event.message));
    // What `cofferdam why` tells more of.
    let id = match &event.kind {
        EventKind::Denial(denial) => denial.id.as_str(),
        EventKind::Alert(alert) => alert.id.as_str(),
        _ => "",
    };
    if !id.is_empty() {
        let _ = write!(row, "  {}", printable(id));
    }
    row.push('\n');
    row
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{super::Cli, *};
    use crate::{cli::Command, sink::samples};

    fn arguments(line: &[&str]) -> Arguments {
        let line = ["cofferdam", "events"].iter().chain(line);
        match Cli::try_parse_from(line).expect("it parses").command {
            Some(Command::Events(arguments)) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_reach_the_daemon_as_they_are_written() {
        let asked =
            path(&arguments(&["--of", "a/b & c=d\u{e9}", "--kind", "flow_open,flow_close"])).expect("a path");
        assert_eq!(asked, "/v1/events?of=a%2Fb+%26+c%3Dd%C3%A9&kind=flow_open%2Cflow_close");
        assert_eq!(path(&arguments(&["-f"])).expect("a path"), "/v1/events?");
    }

    #[test]
    fn a_kind_that_does_not_exist_is_a_mistake_of_usage() {
        let error = Cli::try_parse_from(["cofferdam", "events", "--kind", "flows"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("flow_open"), "{error}");
    }

    #[test]
    fn an_event_is_one_line() {
        let mut event = samples::flow_open();
        assert_eq!(row(&event, true), "10:00:00.123  flow_open     shop/web -> shop/api tcp/8080 opened\n");
        let denial = row(&samples::denial(), true);
        assert!(denial.ends_with(", 3 times  6ac3acb19b00aeaf\n"), "{denial}");
        event.time = "2026-11-24T10:00:00Z".parse().expect("a time");
        event.message = "a\nb\u{1b}[31m".to_owned();
        assert_eq!(row(&event, false), "2026-11-24T10:00:00.000000000Z  flow_open     a\\u{a}b\\u{1b}[31m\n");
    }
}
