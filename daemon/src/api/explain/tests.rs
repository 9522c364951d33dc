//! Who is meant, which answers there are, and how they are added up.

use std::path::Path;

use super::*;
use crate::{
    attribution::Attribution,
    event::{EventKind, WorkloadKind},
    history::History,
    interaction::Verdicts,
    metrics::samples::edge,
    policy::{
        Plan, explain,
        samples::{self, SHOP},
    },
    sink::samples::{API_ID, WEB_ID, alert as sample_alert, container, denial as sample_denial, web},
};

const FILE: &str = "/etc/cofferdam/policies/shop.yaml";
fn plan() -> Plan {
    samples::plan(FILE, SHOP, samples::OPEN)
}

fn db(id: &str) -> Arc<Workload> {
    container("db", id)
}

/// `shop/web` was denied `shop/db` at tcp/5432, and pinged it.
fn edges() -> Vec<Edge> {
    let denied = Edge {
        target: db("dbdbdbdbdbdb"),
        port: 5_432,
        attempts: 0,
        verdicts: Verdicts { deny: 3, ..Verdicts::default() },
        last_denied: Some(edge().last_seen),
        ..edge()
    };
    let ping = Edge {
        protocol: Protocol::Icmp,
        port: 0,
        verdicts: Verdicts { allow: 1, ..Verdicts::default() },
        last_seen: edge().first_seen,
        last_denied: None,
        ..denied.clone()
    };
    let other = Edge { target: container("api", API_ID), ..edge() };
    vec![ping, denied, other]
}

fn ask(from: &str, to: &str, service: Option<(Protocol, u16)>) -> Vec<PairExplained> {
    ask_of(&edges(), from, to, service).0
}

fn ask_of(
    edges: &[Edge],
    from: &str,
    to: &str,
    service: Option<(Protocol, u16)>,
) -> (Vec<PairExplained>, usize) {
    ask_with(edges, |_, _| Vec::new(), from, to, service)
}

fn ask_with(
    edges: &[Edge],
    history: impl Fn(&Workload, &Workload) -> Vec<Totals>,
    from: &str,
    to: &str,
    service: Option<(Protocol, u16)>,
) -> (Vec<PairExplained>, usize) {
    let attribution = Attribution::new("/nonexistent".into());
    let known = known(&attribution, edges);
    let find = |name| who::called(name, &attribution, &known).map_err(|refusal| refusal.1).expect("somebody");
    let target = who::called_as_target(to, &attribution, &known, |name| name == "mirror");
    let targets = target.map_err(|refusal| refusal.1).expect("somebody");
    let plan = plan();
    let judge = |source: End<'_>, target: End<'_>, protocol, port| {
        let explanation = explain::explain(&plan, source, target, protocol, port);
        let text = explanation.text(&[(Path::new(FILE), SHOP)].into());
        Some((explanation, text))
    };
    let caller = |_: &Workload, _: &Workload, (_, port)| (port == 5_432).then(tried_by);
    answers(&find(from), &targets, service, edges, judge, (history, caller))
}

/// Who tried it.
fn tried_by() -> TriedBy {
    let EventKind::Denial(denial) = sample_denial().kind else { panic!("no denial") };
    TriedBy { time: Timestamp::UNIX_EPOCH, caller: denial.caller.expect("a caller") }
}

/// Before the daemon started `shop/web` talked to `shop/db` at two ports.
fn recorded(source: &Workload, target: &Workload) -> Vec<Totals> {
    let of = |port| Totals {
        protocol: Protocol::Tcp,
        port,
        flows: 7,
        bytes_sent: 1,
        bytes_received: 2,
        allowed: 7,
        audited: 0,
        denied: 1,
        first_seen: Timestamp::UNIX_EPOCH,
        last_seen: Timestamp::UNIX_EPOCH,
    };
    let is_it = (source.name.as_str(), target.name.as_str()) == ("shop/web", "shop/db");
    [5_432, 6_432].into_iter().filter(|_| is_it).map(of).collect()
}

#[test]
fn what_was_seen_before_the_daemon_started_is_told_as_well() {
    let (answers, _) = ask_with(&edges(), recorded, "shop/web", "shop/db", None);
    let told: Vec<_> = answers
        .iter()
        .map(|answer| {
            (answer.port.unwrap(), answer.seen.is_some(), answer.past.as_ref().map(|past| past.allowed))
        })
        .collect();
    assert_eq!(told, [(5_432, true, Some(7)), (0, true, None), (6_432, false, Some(7))]);
}

#[test]
fn what_is_asked_for_is_explained_with_what_was_seen_of_it() {
    let [answer] = <[_; 1]>::try_from(ask("shop/web", "shop/db", Some((Protocol::Tcp, 5_432)))).expect("one");
    assert_eq!(answer.verdict, Some(Verdict::Deny));
    let text = answer.text.expect("a text");
    assert!(text.starts_with("✖ DENIED  shop/web → shop/db  tcp/5432\n"), "{text}");
    assert!(text.contains("4 │   - to: shop/db"), "{text}");
    let seen = answer.seen.expect("it was seen");
    assert_eq!((seen.denied, seen.allowed, seen.last_denied), (3, 0, Some(edge().last_seen)));
    assert_eq!(Vec::from_iter(answer.seen_at), ["icmp", "tcp/5432"]);
    assert_eq!(answer.tried_by, Some(tried_by()));
}

#[test]
fn a_service_at_which_they_were_never_seen_is_explained_all_the_same() {
    let [answer] = <[_; 1]>::try_from(ask("shop/web", "shop/db", Some((Protocol::Udp, 53)))).expect("one");
    assert_eq!((answer.verdict, answer.seen), (Some(Verdict::Deny), None));
    assert_eq!(answer.seen_at.len(), 2);
}

#[test]
fn without_a_service_each_is_explained_at_which_they_were_seen_the_last_one_first() {
    let services = |answers: Vec<PairExplained>| -> Vec<_> {
        answers.into_iter().map(|answer| (answer.protocol, answer.port)).collect()
    };
    let seen = services(ask("shop/web", "shop/db", None));
    assert_eq!(seen, [(Some(Protocol::Tcp), Some(5_432)), (Some(Protocol::Icmp), Some(0))]);
    let never = ask("shop/db", "shop/web", None);
    assert_eq!((never[0].verdict, never[0].explanation.clone()), (None, None));
    assert_eq!(services(never), [(None, None)]);
}

#[test]
fn replicas_of_which_the_same_is_true_are_one_answer() {
    let mut edges = edges();
    edges.extend([Edge { target: db("d2d2d2d2d2d2"), ..edges[1].clone() }]);
    let (answers, left_out) = ask_of(&edges, "shop/web", "shop/db", Some((Protocol::Tcp, 5_432)));
    assert_eq!((answers.len(), left_out), (1, 0));
    assert_eq!(answers[0].seen.map(|seen| seen.denied), Some(6));
    // By its id it is that one alone.
    let (answers, _) = ask_of(&edges, "shop/web", "d2d2d2", Some((Protocol::Tcp, 5_432)));
    assert_eq!(answers[0].seen.map(|seen| seen.denied), Some(3));
}

#[test]
fn so_many_are_answered_and_the_rest_is_counted() {
    let edges: Vec<_> = (1..=100).map(|port| Edge { port, ..edge() }).collect();
    let (answers, left_out) = ask_of(&edges, "shop/web", "shop/api", None);
    assert_eq!((answers.len(), left_out), (MOST_ANSWERS, 100 - MOST_ANSWERS));
    let many: Vec<_> = (0..100)
        .map(|number| Edge { target: container(&format!("s{number}"), &format!("id{number:08}")), ..edge() })
        .collect();
    let (answers, left_out) = ask_of(&many, "shop/web", "shop", Some((Protocol::Tcp, 1)));
    assert_eq!((answers.len(), answers.len() + left_out), (MOST_ANSWERS, 100));
}

#[test]
fn a_peer_outside_is_asked_for_by_its_address_or_by_a_name_that_was_looked_up() {
    let peer = Workload {
        dns_name: Some("api.example.org".to_owned()),
        ..Workload::named(WorkloadKind::Outside, "203.0.113.7")
    };
    let edges = [Edge { target: peer.into(), port: 443, ..edge() }];
    for name in ["203.0.113.7", "api.example.org"] {
        let (answers, _) = ask_of(&edges, "shop/web", name, None);
        assert_eq!(answers[0].target, "outside api.example.org (203.0.113.7)");
        assert_eq!(answers[0].seen.map(|seen| seen.allowed), Some(415), "{name}");
    }
    let (answers, _) = ask_of(&edges, "2001:db8::1", "shop/web", Some((Protocol::Tcp, 80)));
    assert_eq!((answers[0].source.as_str(), answers[0].seen), ("outside 2001:db8::1", None));
}

#[test]
fn a_name_that_nobody_has_looked_up_yet_is_a_peer_outside() {
    for name in ["api.example.org", "mirror"] {
        let (answers, _) = ask_of(&[], "host", name, Some((Protocol::Tcp, 443)));
        assert_eq!((answers[0].target.as_str(), answers[0].seen), (&*format!("outside {name}"), None));
        assert_eq!(answers[0].verdict, Some(Verdict::Allow));
    }
}

#[test]
fn whom_nobody_knows_and_who_is_many_is_said() {
    let attribution = Attribution::new("/nonexistent".into());
    let stripe = Arc::new(Workload::named(WorkloadKind::Outside, "stripe"));
    let known = BTreeSet::from([stripe, web()]);
    let refused = |name| who::called(name, &attribution, &known).map(|_| ()).unwrap_err();
    assert_eq!(refused("shop/wbe").0, StatusCode::NOT_FOUND);
    assert!(refused("shop/wbe").1.starts_with("nobody is called `shop/wbe`"));
    assert_eq!(refused("stripe").0, StatusCode::BAD_REQUEST);
    assert_eq!(refused("api.example.org").0, StatusCode::NOT_FOUND);
    let target = |name| who::called_as_target(name, &attribution, &known, |_| false).map(|_| ()).unwrap_err();
    assert_eq!(target("shop/web.1").0, StatusCode::NOT_FOUND);
    assert_eq!(target("wbe").0, StatusCode::NOT_FOUND);
    assert_eq!(target("stripe").0, StatusCode::BAD_REQUEST);
    assert!(who::called(&WEB_ID[..6], &attribution, &known).is_ok());
}

#[test]
fn who_is_gone_is_known_by_the_alerts_about_him_if_nobody_else_is_called_so() {
    let EventKind::Alert(alert) = sample_alert().kind else { panic!("no alert") };
    let remembered = |name: &str, known: &[Arc<Workload>]| {
        let mut known: BTreeSet<_> = known.iter().cloned().collect();
        who::remember(name, std::slice::from_ref(&*alert), &History::default(), &mut known);
        known.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(remembered("shop/web", &[]), [web()]);
    assert_eq!(remembered("shop/db", &[]), [alert.target.clone().expect("a target")]);
    assert_eq!(remembered("shop/wbe", &[]), []);
    // Of two that are called so, the one who lives is meant.
    let another = container("web", "another");
    assert_eq!(remembered("shop/web", std::slice::from_ref(&another)), [another]);
}

#[test]
fn services_that_make_no_sense_are_refused() {
    let service = |protocol, port| {
        ExplainQuery { protocol, port, ..ExplainQuery::default() }.service().map_err(|refusal| refusal.1)
    };
    assert_eq!(service(None, Some(80)), Ok(Some((Protocol::Tcp, 80))));
    assert_eq!(service(Some(Protocol::Icmp), None), Ok(Some((Protocol::Icmp, 0))));
    assert_eq!(service(None, None), Ok(None));
    assert_eq!(service(Some(Protocol::Udp), None), Err("udp needs a port".to_owned()));
    assert_eq!(service(Some(Protocol::Icmp), Some(80)), Err("icmp has no ports".to_owned()));
    assert!(service(Some(Protocol::Other), None).is_err());
}
