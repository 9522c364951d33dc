//! `cofferdam why`: why some may, or may not, interact with others, and what was seen of it.

pub(super) mod denied;
pub(super) mod event;

use clap::{
    Args, Subcommand,
    builder::styling::{AnsiColor, Style},
};
use jiff::Timestamp;

use super::{
    Client, Failure, alerts,
    output::{ago, bytes, is_terminal, number, plural, print, print_json, printable},
    question,
};
use crate::{
    api::{ExplainQuery, Explained, MOST_SEEN_AT, PairExplained, Seen, TriedBy},
    event::{Protocol, Verdict},
    history::Totals,
};

pub(super) const ALLOWED: Style = AnsiColor::Green.on_default().bold();
pub(super) const REPORTED: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const DENIED: Style = AnsiColor::Red.on_default().bold();

/// What can be asked.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    list: Option<List>,
    /// Who begins it: its name, its container's name, its project, its DNS name, the beginning of its id, or an address.
    /// Alone: the id of a denial or an alert, or the beginning of it.
    #[arg(required = true)]
    source: Option<String>,
    /// With whom.
    target: Option<String>,
    /// Protocol and port: `tcp/5432`, `5432`, `icmp`. Without it: all at which the two were seen.
    #[arg(long, value_name = "PORT", value_parser = service, requires = "target")]
    port: Option<Service>,
    /// As JSON (docs/api.md, /v1/policy/explain).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum List {
    /// Lists what was denied, or would have been, the last first.
    Denied(denied::Arguments),
}

/// Protocol and port.
pub(super) type Service = (Protocol, Option<u16>);

pub(super) fn run(arguments: Arguments, client: &Client) -> Result<(), Failure> {
    if let Some(List::Denied(arguments)) = arguments.list {
        return denied::run(&arguments, client);
    }
    // The parser sees to it that it is there.
    let source = arguments.source.unwrap_or_default();
    match arguments.target {
        Some(target) => answer(client, source, target, arguments.port, arguments.json),
        None => event::answer(client, source, arguments.json),
    }
}

/// Asks and shows the answer.
pub(super) fn answer(
    client: &Client,
    from: String,
    to: String,
    service: Option<Service>,
    json: bool,
) -> Result<(), Failure> {
    let protocol = service.map(|(protocol, _)| protocol);
    let query = ExplainQuery { from, to, protocol, port: service.and_then(|(_, port)| port) };
    let explained: Explained = client.get(&question("/v1/policy/explain", &query)?)?;
    if json { print_json(&explained) } else { print(&text(&explained, Timestamp::now(), is_terminal())) }
}

/// A service as people write it; a port alone is TCP's.
pub(super) fn service(text: &str) -> Result<Service, String> {
    if let Ok(port) = text.parse() {
        return Ok((Protocol::Tcp, Some(port)));
    }
    let (name, port) = text.split_once('/').map_or((text, None), |(name, port)| (name, Some(port)));
    let protocol: Protocol =
        name.parse().map_err(|_| format!("`{name}` is neither a port nor a protocol"))?;
    match port {
        None if protocol.has_ports() => Err(format!("must have a port, as in `{name}/443`")),
        Some(_) if !protocol.has_ports() => Err(format!("{protocol} has no ports")),
        None => Ok((protocol, None)),
        Some(port) => Ok((protocol, Some(port.parse().map_err(|_| format!("`{port}` is no port"))?))),
    }
}

pub(super) fn text(explained: &Explained, now: Timestamp, for_people: bool) -> String {
    let mut text = String::new();
    for answer in &explained.answers {
        if !text.is_empty() {
            text.push('\n');
        }
        text += &shown(answer, now, for_people);
    }
    if let Some(problem) = &explained.problem {
        let before = match explained.generation {
            0 => "nothing of them is in force".to_owned(),
            generation => format!("generation {generation} stays in force, which this is about"),
        };
        text += &format!(
            "\n{DENIED}policies broken{DENIED:#}: {}\n{before} → cofferdam policy check\n",
            printable(problem)
        );
    }
    if explained.left_out > 0 {
        let more = number(explained.left_out as u64);
        text += &format!(
            "\n{more} more are not shown: ask for one workload (by the beginning of its id), and for a port.\n"
        );
    }
    if !explained.alerts.is_empty() {
        text += &format!("\nALERTS\n{}", alerts::text(&explained.alerts, now, for_people));
    }
    if explained.alerts_left_out > 0 {
        let more = number(explained.alerts_left_out as u64);
        text += &format!("{more} more are not shown → cofferdam alerts --all\n");
    }
    text
}

/// One answer. What is seen of it stands in the first line, the reasons below.
fn shown(answer: &PairExplained, now: Timestamp, for_people: bool) -> String {
    let PairExplained { source, target, protocol, port, verdict, explanation, text, seen, past, .. } = answer;
    let seen_at = &answer.seen_at;
    let between = format!("{} → {}", printable(source), printable(target));
    let Some(verdict) = verdict else {
        return match protocol {
            Some(protocol) if protocol.number().is_some() => format!(
                "? UNKNOWN  {between}  {}\n  What an earlier daemon left in force, if anything, decides.\n",
                protocol.service(port.unwrap_or(0))
            ),
            Some(_) => format!(
                "? MANY  {between}\n  What was folded, because the ledger was full, cannot be judged.\n"
            ),
            None => format!(
                "? NEVER SEEN  {between}\n  To know what would come of it, ask for a port: --port tcp/443\n"
            ),
        };
    };
    let (style, heading) = match verdict {
        Verdict::Allow => (ALLOWED, "✔ ALLOWED"),
        Verdict::Audit => (REPORTED, "▲ WOULD BE DENIED"),
        Verdict::Deny => (DENIED, "✖ DENIED"),
    };
    // A rule in list `audit` allows, and asks for a report.
    let heading = match explanation {
        Some(explanation) if explanation.is_only_reported() => "▲ ALLOWED AND REPORTED",
        _ => heading,
    };
    let service = protocol.map(|protocol| protocol.service(port.unwrap_or(0))).unwrap_or_default();
    let mut shown = format!(
        "{style}{heading}{style:#}  {between}  {service}  ({})\n",
        attempts(seen.as_ref(), now, for_people)
    );
    match text {
        // Its first line is said.
        Some(text) => shown.extend(text.lines().skip(1).map(|line| printable(line).into_owned() + "\n")),
        None => shown += "  because  no policy is in force: everything passes\n",
    }
    if let Some(TriedBy { time, caller }) = &answer.tried_by {
        let caller = caller.to_string();
        shown += &format!("  who      {}, {}\n", printable(&caller), when(*time, now, for_people));
    }
    let elsewhere: Vec<_> = seen_at.iter().filter(|at| **at != service).map(|at| printable(at)).collect();
    if let Some(seen) = seen {
        let first = when(seen.first_seen, now, for_people);
        shown += &format!("  seen     first {first}, last {}\n", when(seen.last_seen, now, for_people));
        if *verdict == Verdict::Allow && seen.denied + seen.audited > 0 {
            shown += "           denied by what was in force then, or before it was known who they are\n";
        }
    } else if !elsewhere.is_empty() {
        let more = if seen_at.len() < MOST_SEEN_AT { "" } else { " and others" };
        shown += &format!("  seen     never at this port, but at {}{more}\n", elsewhere.join(", "));
    }
    if let Some(past) = past {
        shown += &recorded(past, now, for_people);
    }
    shown
}

/// What the history knows, over all replicas and all daemons.
fn recorded(past: &Totals, now: Timestamp, for_people: bool) -> String {
    let counts =
        [(past.allowed, "allowed"), (past.audited, "would have been denied"), (past.denied, "denied")];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts.map(|(count, what)| format!("{} {what}", number(count))).collect();
    format!(
        "  history  first {}, last {}: {}; {} sent, {} received\n",
        when(past.first_seen, now, for_people),
        when(past.last_seen, now, for_people),
        if counts.is_empty() { "nothing begun".to_owned() } else { counts.join(", ") },
        bytes(past.bytes_sent),
        bytes(past.bytes_received),
    )
}

/// `3 attempts denied, the last 41 s ago; 12 allowed`
fn attempts(seen: Option<&Seen>, now: Timestamp, for_people: bool) -> String {
    let Some(seen) = seen else { return "never seen".to_owned() };
    let mut parts = Vec::new();
    if seen.denied > 0 {
        parts.push(plural(seen.denied, "attempt") + " denied");
    }
    if seen.audited > 0 {
        parts.push(plural(seen.audited, "attempt") + " would have been denied");
    }
    if let (Some(part), Some(last)) = (parts.last_mut(), seen.last_denied) {
        *part += &format!(", the last {}", when(last, now, for_people));
    }
    if seen.allowed > 0 || parts.is_empty() {
        parts.push(plural(seen.allowed, "attempt") + " allowed");
    }
    parts.join("; ")
}

/// `41 s ago`, `now`; the time itself for machines.
fn when(time: Timestamp, now: Timestamp, for_people: bool) -> String {
    match ago(time, now, for_people) {
        now if now == "now" => now,
        span if for_people => span + " ago",
        time => time,
    }
}

#[cfg(test)]
mod tests;
