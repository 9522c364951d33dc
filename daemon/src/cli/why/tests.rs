//! What `cofferdam why` shows.

use std::{path::Path, sync::Arc};

use clap::Parser;

use super::*;
use crate::{
    cli::{Cli, Command},
    event::{EventKind, Workload},
    interaction::{Edge, Verdicts},
    metrics::samples::edge,
    policy::{
        explain::{End, explain},
        samples,
    },
    sink::samples::{alert, api, container, denial, web},
};

const FILE: &str = "/etc/cofferdam/policies/shop.yaml";

fn now() -> Timestamp {
    "2026-11-24T10:00:41Z".parse().expect("a time")
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn db() -> Arc<Workload> {
    container("db", "dbdbdbdbdbdb")
}

/// What a policy makes of `source` and `shop/db`: only `shop/api` may send to it, and to its port.
fn explained(mode: &str, list: &str, source: &Workload, port: u16) -> PairExplained {
    let policy = format!(
        "policy: shop\nmode: {mode}\nrules:\n  - to: shop/db\n    {list}:\n      - {{from: shop/api, port: tcp/5432}}\n"
    );
    let plan = samples::plan(FILE, &policy, samples::OPEN);
    let explanation = explain(&plan, End::Workload(source), End::Workload(&db()), 6, port);
    PairExplained {
        source: source.to_string(),
        target: "shop/db".to_owned(),
        protocol: Some(Protocol::Tcp),
        port: Some(port),
        verdict: Some(explanation.verdict),
        text: Some(explanation.text(&[(Path::new(FILE), policy.as_str())].into())),
        explanation: Some(explanation),
        seen: None,
        tried_by: None,
        past: None,
        seen_at: [].into(),
    }
}

fn seen(allowed: u64, audited: u64, denied: u64) -> Seen {
    Seen {
        allowed,
        audited,
        denied,
        first_seen: edge().first_seen,
        last_seen: edge().last_seen,
        last_denied: (audited + denied > 0).then(|| edge().last_seen),
    }
}

fn page(answer: PairExplained) -> String {
    plain(&text(&told(answer), now(), true))
}

fn told(answer: PairExplained) -> Explained {
    Explained {
        schema_version: 1,
        generation: 17,
        problem: None,
        answers: vec![answer],
        left_out: 0,
        alerts: Vec::new(),
        alerts_left_out: 0,
    }
}

#[test]
fn what_is_denied_is_explained_as_the_documentation_has_it() {
    let EventKind::Denial(denial) = denial().kind else { panic!("no denial") };
    let tried_by = TriedBy { time: edge().last_seen, caller: denial.caller.expect("a caller") };
    let answer = PairExplained {
        seen: Some(seen(0, 0, 3)),
        tried_by: Some(tried_by),
        seen_at: ["tcp/5432".to_owned()].into(),
        ..explained("enforce", "allow", &web(), 5_432)
    };
    let page = page(answer);
    insta::assert_snapshot!(page, @r#"
    ✖ DENIED  shop/web → shop/db  tcp/5432  (3 attempts denied, the last 41 s ago)
      because  policy "shop"  /etc/cofferdam/policies/shop.yaml:4  rule shop#1: nothing lets shop/db receive from shop/web
              4 │   - to: shop/db
                │     ^ is about shop/db: it may receive only from whom an entry allows
              6 │       - {from: shop/api, port: tcp/5432}
                │         ^ shop/web does not match: name is "shop/web" (the rule wants "shop/api")
      who      pid 8123 psql (/usr/bin/psql) ← /bin/sh, user 1000, 41 s ago
      seen     first 1 h ago, last 41 s ago
    "#);
    assert!(include_str!("../../../../docs/cli.md").contains(&page), "docs/cli.md shows another answer");
}

#[test]
fn what_the_history_knows_stands_below() {
    let past = Totals {
        protocol: Protocol::Tcp,
        port: 5_432,
        flows: 41_205,
        bytes_sent: 1_200_000,
        bytes_received: 9_800_000,
        allowed: 41_205,
        audited: 0,
        denied: 3,
        first_seen: "2026-11-03T10:00:41Z".parse().unwrap(),
        last_seen: edge().last_seen,
    };
    let answer = PairExplained { past: Some(past), ..explained("enforce", "allow", &web(), 5_432) };
    let page = page(answer);
    let line =
        "  history  first 21 d ago, last 41 s ago: 41,205 allowed, 3 denied; 1.2 MB sent, 9.8 MB received\n";
    assert!(page.ends_with(line), "{page}");
}

#[test]
fn what_was_unusual_of_the_two_stands_at_the_end_as_the_documentation_has_it() {
    let EventKind::Alert(alert) = alert().kind else { panic!("no alert") };
    let answer = PairExplained { seen: Some(seen(97, 0, 0)), ..explained("enforce", "allow", &api(), 5_432) };
    let told = Explained { alerts: vec![*alert], alerts_left_out: 1_204, ..told(answer) };
    let page = plain(&text(&told, now(), true));
    let (_, alerts) = page.split_once("  seen     first 1 h ago, last 41 s ago\n").expect("both");
    insta::assert_snapshot!(alerts, @r"

    ALERTS
    ✖ critical  9f2c41d07ab3e865  new_edge  first 2 m, last 41 s, 3 times
      shop/web has never talked to shop/db in 21 days; now tcp/5432, 3 times, from the same image
    1 alert open. Normal? cofferdam alerts ack ID. To be stopped? cofferdam alerts rule ID
    1,204 more are not shown → cofferdam alerts --all
    ");
    let first: String = alerts.split_inclusive('\n').take(5).collect();
    assert!(include_str!("../../../../docs/cli.md").contains(&first), "docs/cli.md lacks\n{first}");
}

#[test]
fn what_is_allowed_says_which_rule_lets_it() {
    let answer = PairExplained { seen: Some(seen(97, 0, 0)), ..explained("enforce", "allow", &api(), 5_432) };
    insta::assert_snapshot!(page(answer), @r#"
    ✔ ALLOWED  shop/api → shop/db  tcp/5432  (97 attempts allowed)
      egress   no rule for egress is about shop/api: it is allowed
      ingress  policy "shop"  /etc/cofferdam/policies/shop.yaml:4  rule shop#1: shop/db may receive from shop/api
              4 │   - to: shop/db
                │     ^ is about shop/db
              6 │       - {from: shop/api, port: tcp/5432}
                │         ^ matches shop/api and the port: `allow`
      seen     first 1 h ago, last 41 s ago
    "#);
}

#[test]
fn what_would_be_denied_is_told_from_what_a_rule_only_reports() {
    let answer = PairExplained { seen: Some(seen(1, 2, 0)), ..explained("audit", "allow", &web(), 5_432) };
    insta::assert_snapshot!(page(answer), @r#"
    ▲ WOULD BE DENIED  shop/web → shop/db  tcp/5432  (2 attempts would have been denied, the last 41 s ago; 1 attempt allowed)
      because  policy "shop"  /etc/cofferdam/policies/shop.yaml:4  rule shop#1: nothing lets shop/db receive from shop/web
               The policy is in mode audit: it passes, and is reported.
              4 │   - to: shop/db
                │     ^ is about shop/db: it may receive only from whom an entry allows
              6 │       - {from: shop/api, port: tcp/5432}
                │         ^ shop/web does not match: name is "shop/web" (the rule wants "shop/api")
      seen     first 1 h ago, last 41 s ago
    "#);
    let listed = page(explained("enforce", "audit", &api(), 5_432));
    assert!(
        listed.starts_with("▲ ALLOWED AND REPORTED  shop/api → shop/db  tcp/5432  (never seen)\n"),
        "{listed}"
    );
}

#[test]
fn a_port_at_which_they_were_never_seen_names_those_at_which_they_were() {
    let answer = PairExplained {
        seen_at: ["icmp".to_owned(), "tcp/5432".to_owned()].into(),
        ..explained("enforce", "allow", &api(), 80)
    };
    let page = page(answer);
    assert!(page.contains("  (never seen)\n"), "{page}");
    assert!(page.ends_with("  seen     never at this port, but at icmp, tcp/5432\n"), "{page}");
}

#[test]
fn who_was_never_seen_together_is_asked_for_a_port_and_without_policies_all_passes() {
    let allowed = explained("enforce", "allow", &api(), 5_432);
    let never = PairExplained {
        protocol: None,
        port: None,
        verdict: None,
        explanation: None,
        text: None,
        ..allowed.clone()
    };
    insta::assert_snapshot!(page(never), @r#"
    ? NEVER SEEN  shop/api → shop/db
      To know what would come of it, ask for a port: --port tcp/443
    "#);
    let free = PairExplained { explanation: None, text: None, seen: Some(seen(1, 0, 0)), ..allowed };
    let unknown = PairExplained { verdict: None, ..free.clone() };
    insta::assert_snapshot!(page(unknown), @r#"
    ? UNKNOWN  shop/api → shop/db  tcp/5432
      What an earlier daemon left in force, if anything, decides.
    "#);
    insta::assert_snapshot!(page(free), @r#"
    ✔ ALLOWED  shop/api → shop/db  tcp/5432  (1 attempt allowed)
      because  no policy is in force: everything passes
      seen     first 1 h ago, last 41 s ago
    "#);
}

#[test]
fn what_was_denied_before_and_is_allowed_now_is_no_contradiction() {
    let answer = PairExplained { seen: Some(seen(0, 0, 3)), ..explained("enforce", "allow", &api(), 5_432) };
    let page = page(answer);
    assert!(
        page.starts_with("✔ ALLOWED") && page.contains("(3 attempts denied, the last 41 s ago)"),
        "{page}"
    );
    assert!(page.ends_with(" then, or before it was known who they are\n"), "{page}");
}

#[test]
fn several_answers_stand_apart_and_what_is_missing_is_said() {
    let answer = explained("enforce", "allow", &api(), 5_432);
    let answers = vec![answer.clone(), answer.clone()];
    let explained = Explained { answers, left_out: 1_204, ..told(answer) };
    let page = plain(&text(&explained, now(), true));
    assert_eq!(page.matches("✔ ALLOWED").count(), 2);
    assert!(page.contains("\n\n✔ ALLOWED"), "{page}");
    assert!(page.contains("1,204 more are not shown"), "{page}");
}

#[test]
fn a_broken_folder_is_told_below_what_stays_in_force() {
    let problem = Some("/etc/cofferdam/policies/shop.yaml:15:15: unknown key `form`".to_owned());
    let explained = Explained { problem, ..told(explained("enforce", "allow", &api(), 5_432)) };
    let page = plain(&text(&explained, now(), true));
    let end = "policies broken: /etc/cofferdam/policies/shop.yaml:15:15: unknown key `form`
generation 17 stays in force, which this is about → cofferdam policy check\n";
    assert!(page.ends_with(end), "{page}");
}

#[test]
fn services_are_written_as_people_do() {
    assert_eq!(service("5432"), Ok((Protocol::Tcp, Some(5_432))));
    assert_eq!(service("udp/53"), Ok((Protocol::Udp, Some(53))));
    assert_eq!(service("icmp"), Ok((Protocol::Icmp, None)));
    for wrong in ["66000", "udp", "icmp/1", "tcp/x", "tpc/1"] {
        assert!(service(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_pair_an_id_or_the_word_denied_can_be_asked() {
    let parsed = |line: &[&str]| Cli::try_parse_from(["cofferdam", "why"].iter().chain(line));
    let Some(Command::Why(pair)) = parsed(&["a", "b", "--port", "tcp/1"]).expect("it parses").command else {
        panic!("it is another command")
    };
    assert_eq!((pair.source.as_deref(), pair.target.as_deref()), (Some("a"), Some("b")));
    assert_eq!(pair.port, Some((Protocol::Tcp, Some(1))));
    let Some(Command::Why(list)) = parsed(&["denied", "--since", "1d", "--json"]).expect("it parses").command
    else {
        panic!("it is another command")
    };
    assert!(list.list.is_some());
    let Some(Command::Why(event)) = parsed(&["6ac3"]).expect("it parses").command else {
        panic!("it is another command")
    };
    assert_eq!((event.source.as_deref(), event.target), (Some("6ac3"), None));
    for line in [&[][..], &["6ac3", "--port", "80"], &["a", "b", "--port", "tcp"]] {
        assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line:?}");
    }
    let explain = ["cofferdam", "policy", "explain", "--from", "a", "--to", "b", "--port", "80"];
    assert!(Cli::try_parse_from(explain).is_ok());
}

#[test]
fn what_was_denied_is_listed_the_last_first() {
    let at = |time: &str| Some(time.parse::<Timestamp>().expect("a time"));
    let denied = |source, deny, audit, last| Edge {
        source,
        target: db(),
        port: 5_432,
        verdicts: Verdicts { allow: 7, audit, deny },
        last_denied: last,
        ..edge()
    };
    let edges = [
        denied(api(), 0, 2, at("2026-11-24T09:58:00Z")),
        denied(web(), 1_200, 0, at("2026-11-24T10:00:00Z")),
        // A replica.
        denied(web(), 4, 0, at("2026-11-24T09:00:00Z")),
    ];
    let table = denied::text(&edges, now(), true);
    insta::assert_snapshot!(table, @r#"
    SOURCE    TARGET   PORT      DENIED  AUDIT  LAST
    shop/web  shop/db  tcp/5432   1,204      0  41 s
    shop/api  shop/db  tcp/5432       0      2  2 m
    "#);
    assert!(include_str!("../../../../docs/cli.md").contains(&table), "docs/cli.md shows another table");
    assert_eq!(denied::text(&[], now(), true), "Nothing was denied, and nothing would have been.\n");
}
