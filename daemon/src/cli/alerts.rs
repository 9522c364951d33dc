//! `cofferdam alerts`: what is unusual, that somebody has looked at it, and what a policy can do about it.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, anyhow};
use clap::{
    Args, Subcommand,
    builder::styling::{AnsiColor, Style},
};
use jiff::Timestamp;

use super::{
    ChosenMode, Client, Failure,
    output::{ago, is_terminal, number, plural, print, print_json, printable},
    question,
};
use crate::{
    api::{Acknowledge, AlertsQuery, RuleQuery, Ruled},
    baseline::rule::Will,
    event::{Alert, AlertState, Severity},
};

/// What can be asked.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Those that were acknowledged, or are over, as well.
    #[arg(short, long)]
    all: bool,
    /// Only those about this workload: its name, container name, project, DNS name, or the beginning of its id.
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
    /// As JSON (docs/api.md, /v1/alerts).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says that somebody has looked at it: what it is about is normal from now on.
    Ack(AckArguments),
    /// Prints a policy that denies what it is about, or lets it pass.
    Rule(RuleArguments),
}

/// What is acknowledged.
#[derive(Args, Debug)]
struct AckArguments {
    /// Its id, or the beginning of it.
    id: String,
    /// Why it is normal. Asked for where it is missing.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What is made of it.
#[derive(Args, Debug)]
struct RuleArguments {
    /// Its id, or the beginning of it.
    id: String,
    /// The mode of the policy that denies it.
    #[arg(long, value_enum, default_value_t = ChosenMode::Audit, value_name = "MODE")]
    mode: ChosenMode,
    /// Let it pass where policies in force stop it.
    #[arg(long, conflicts_with = "mode")]
    allow: bool,
}

const CRITICAL: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const INFO: Style = Style::new();

pub(super) fn run(arguments: Arguments, client: &Client) -> Result<(), Failure> {
    match arguments.command {
        Some(Command::Ack(ack)) => acknowledge(ack, client),
        Some(Command::Rule(RuleArguments { id, mode, allow })) => {
            let will = match mode {
                _ if allow => Will::Allow,
                ChosenMode::Audit => Will::Audit,
                ChosenMode::Enforce => Will::Deny,
            };
            let query = RuleQuery { id, will };
            print(&client.get::<Ruled>(&question("/v1/alerts/rule", &query)?)?.text)
        }
        None => {
            let query = AlertsQuery { all: arguments.all, of: arguments.of };
            let alerts: Vec<Alert> = client.get(&question("/v1/alerts", &query)?)?;
            if arguments.json {
                print_json(&alerts)
            } else {
                print(&text(&alerts, Timestamp::now(), is_terminal()))
            }
        }
    }
}

fn acknowledge(ack: AckArguments, client: &Client) -> Result<(), Failure> {
    let reason = match ack.reason {
        Some(reason) => reason,
        None if std::io::stdin().is_terminal() => asked()?,
        None => return Err(anyhow!("--reason is needed: why is it normal?").into()),
    };
    let alert: Alert = client.post("/v1/alerts/ack", &Acknowledge { id: ack.id, reason })?;
    print(&format!("{} is normal from now on: {}\n", printable(&alert.id), printable(&alert.sentence)))
}

/// Asks once.
fn asked() -> Result<String, Failure> {
    let mut stderr = anstream::stderr().lock();
    write!(stderr, "Why is it normal? ").and_then(|()| stderr.flush()).context("cannot ask")?;
    let mut reason = String::new();
    std::io::stdin().lock().read_line(&mut reason).context("cannot read the answer")?;
    Ok(reason.trim().to_owned())
}

/// Two lines for each: what, and the sentence.
pub(super) fn text(alerts: &[Alert], now: Timestamp, for_people: bool) -> String {
    if alerts.is_empty() {
        return "There are no alerts.\n".to_owned();
    }
    let mut text: String = alerts.iter().map(|alert| shown(alert, now, for_people)).collect();
    let open = alerts.iter().filter(|alert| alert.is_open()).count();
    if open > 0 {
        text += &format!(
            "{} open. Normal? cofferdam alerts ack ID. To be stopped? cofferdam alerts rule ID\n",
            plural(open, "alert")
        );
    }
    text
}

fn shown(alert: &Alert, now: Timestamp, for_people: bool) -> String {
    let (style, mark) = match alert.severity {
        Severity::Critical => (CRITICAL, "✖"),
        Severity::Warning => (WARNING, "!"),
        Severity::Info => (INFO, "·"),
    };
    let state = match (alert.state, &alert.acknowledged) {
        (AlertState::Open, _) => String::new(),
        (AlertState::Acknowledged, Some(by)) => format!("  acknowledged: {}", printable(&by.reason)),
        (state, _) => format!("  {state}"),
    };
    format!(
        "{style}{mark} {}{style:#}  {}  {}  first {}, last {}, {} times{state}\n  {}\n",
        alert.severity,
        printable(&alert.id),
        alert.kind,
        ago(alert.began, now, for_people),
        ago(alert.last_seen, now, for_people),
        number(alert.count),
        printable(&alert.sentence),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Acknowledgement, EventKind},
        sink::samples,
    };

    fn alert() -> Alert {
        match samples::alert().kind {
            EventKind::Alert(alert) => *alert,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_says_what_it_is_and_why_as_the_documentation_has_it() {
        let now: Timestamp = "2026-11-24T10:00:41Z".parse().unwrap();
        let at = "2026-11-24T10:00:30Z".parse().unwrap();
        let acknowledged = Alert {
            state: AlertState::Acknowledged,
            severity: Severity::Warning,
            acknowledged: Some(Acknowledgement { by: 0, at, reason: "the new report".to_owned() }),
            ..alert()
        };
        let shown = anstream::adapter::strip_str(&text(&[alert(), acknowledged], now, true)).to_string();
        insta::assert_snapshot!(shown, @r"
        ✖ critical  9f2c41d07ab3e865  new_edge  first 2 m, last 41 s, 3 times
          shop/web has never talked to shop/db in 21 days; now tcp/5432, 3 times, from the same image
        ! warning  9f2c41d07ab3e865  new_edge  first 2 m, last 41 s, 3 times  acknowledged: the new report
          shop/web has never talked to shop/db in 21 days; now tcp/5432, 3 times, from the same image
        1 alert open. Normal? cofferdam alerts ack ID. To be stopped? cofferdam alerts rule ID
        ");
        let first: String = shown.lines().take(2).map(|line| line.to_owned() + "\n").collect();
        assert!(include_str!("../../../docs/cli.md").contains(&first), "docs/cli.md lacks\n{first}");
    }
}
