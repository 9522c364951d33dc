//! What a scrape shows.

use cofferdam_common::network::{LedgerKey, LedgerRow, VERDICT_DENY};

use super::*;
use crate::{
    enforcement::{Finding, Look, Outcome, Shadowed, Tried, What},
    event::{AlertState, RuleName, Runtime},
    interaction::{Verdicts, denials::Denials},
    sink::samples as events,
};

/// Found right at the tenth second, and wrong now, beside a program of somebody else.
fn verified() -> enforcement::Verified {
    let found = |what, outcome| Finding { what, outcome, count: 1, text: String::new() };
    let left = vec![found(What::Foreign, Outcome::Noted), found(What::Pin, Outcome::Open)];
    let at = |second| jiff::Timestamp::from_second(second).expect("a time");
    let before = enforcement::Verified::after(None, Look::default(), at(10));
    let verified = enforcement::Verified::after(Some(&before), Look { left, ..Look::default() }, at(20));
    let right = Tried::after(None, Ok(Vec::new()), None, at(5));
    let tried = Some(Tried::after(Some(&right), Ok(vec!["it arrived".to_owned()]), None, at(15)));
    enforcement::Verified { tried, ..verified }
}

fn readings() -> Readings {
    Readings {
        counters: Some(samples::counters()),
        syscalls: Some(vec![samples::syscall()]),
        hooks: samples::hooks(),
        containers: vec![events::web(), events::api()],
        runtimes: vec![RuntimeStatus {
            runtime: Runtime::Docker,
            user: None,
            endpoint: "/var/run/docker.sock".to_owned(),
            state: RuntimeState::Connected,
            version: Some("20.10.24".to_owned()),
            reason: None,
        }],
        unattributed: 0,
        unclaimed: 0,
        overflows: Overflows::default(),
        dns_answers: [9, 0, 0, 0],
        dns_names: 7,
        archive_folded: 0,
        events_dropped: 0,
        receivers: vec![ReceiverStatus {
            name: "webhook-2".to_owned(),
            kind: "webhook".to_owned(),
            place: "http://127.0.0.1:8080".to_owned(),
            sent: 5,
            failed: 7,
            dropped: 0,
            waiting: 1,
            last_error: Some("it answered 500".to_owned()),
            since: "2026-11-24T10:00:00Z".parse().expect("a time"),
        }],
        heartbeat_age: 0.25,
        config: Some(Report {
            file: "/etc/cofferdam/config.yaml".to_owned(),
            since: "2026-11-24T10:00:00Z".parse().expect("a time"),
            problem: Some("it is broken".to_owned()),
            needs_restart: Vec::new(),
        }),
        history: crate::history::Report::default(),
        alerts: vec![alert()],
        policies: enforcement::Report {
            verified: Some(verified()),
            generation: 17,
            enforced: 3,
            audited: 1,
            rules: 14,
            errors: 2,
            problem: Some("it is broken".to_owned()),
            ..enforcement::Report::default()
        },
    }
}

fn alert() -> Alert {
    match events::alert().kind {
        EventKind::Alert(alert) => *alert,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_alert_is_a_series_while_it_is_open() {
    let series =
        r#"cofferdam_anomaly{anomaly="new_edge",severity="critical",source="shop/web",target="shop/db"}"#;
    let mut readings = readings();
    assert_eq!(value(&render(&Metrics::new(), &readings), series), Some(1.0));
    readings.alerts = vec![Alert { state: AlertState::Resolved, ..alert() }];
    assert_eq!(value(&render(&Metrics::new(), &readings), series), None);
}

#[test]
fn alerts_are_counted_by_receiver_from_the_start() {
    let text = render(&Metrics::new(), &readings());
    for (name, count) in [("sent", 5.0), ("send_failures", 7.0), ("dropped", 0.0)] {
        let series = format!("cofferdam_alerts_{name}_total{{receiver=\"webhook-2\"}}");
        assert_eq!(value(&text, &series), Some(count), "{text}");
    }
}

/// 3 packets that `shop#2` denied, 5 that a default did.
fn denials() -> Denials {
    let (key, row) = crate::api::samples::row(3);
    let key = LedgerKey { verdict: VERDICT_DENY, rule: 7, ..key };
    let rows = [(key, row), (LedgerKey { rule: 0, ..key }, LedgerRow { attempts: 5, ..row })];
    Denials::of(&rows, |_| Some(RuleName { name: "shop#2".to_owned(), file: String::new(), line: 14 }.into()))
}

fn render(metrics: &Metrics, readings: &Readings) -> String {
    render_with(metrics, Ok(vec![samples::edge()]), readings)
}

fn render_with(metrics: &Metrics, edges: anyhow::Result<Vec<Edge>>, readings: &Readings) -> String {
    metrics.count_edges(|| edges, Instant::now());
    metrics.render(readings, Instant::now())
}

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn flows_and_bytes_are_labelled_by_name_and_the_servers_port() {
    let text = render(&Metrics::new(), &readings());
    let labels = r#"source="shop/web",target="shop/api",protocol="tcp",port="8080""#;
    assert_eq!(value(&text, &format!("cofferdam_flows_total{{{labels}}}")), Some(412.0), "{text}");
    assert_eq!(value(&text, &format!("cofferdam_flow_attempts_total{{{labels}}}")), Some(415.0));
    let received = format!(r#"cofferdam_flow_bytes_total{{{labels},direction="received"}}"#);
    assert_eq!(value(&text, &received), Some(9_800_000.0));
}

#[test]
fn denials_are_counted_by_pair_and_by_rule() {
    let metrics = Metrics::new();
    lock(&metrics.rules).update(&denials(), Instant::now());
    let verdicts = Verdicts { deny: 8, audit: 0, allow: 415 };
    let text = render_with(&metrics, Ok(vec![Edge { verdicts, ..samples::edge() }]), &readings());
    let labels = r#"source="shop/web",target="shop/api",protocol="tcp",port="8080""#;
    assert_eq!(
        value(&text, &format!("cofferdam_denials_total{{{labels},verdict=\"deny\"}}")),
        Some(8.0),
        "{text}"
    );
    assert!(!text.contains("verdict=\"audit\""), "{text}");
    for (policy, rule, count) in [("shop", "shop#2", 3.0), ("none", "none", 5.0)] {
        let labels = format!("policy=\"{policy}\",rule=\"{rule}\",verdict=\"deny\"");
        assert_eq!(value(&text, &format!("cofferdam_rule_denials_total{{{labels}}}")), Some(count), "{text}");
    }
}

#[test]
fn what_is_in_the_shadow_is_counted_anew_for_each() {
    let metrics = Metrics::new();
    let count = |found: Option<&Shadowed>| {
        lock(&metrics.shadow).update(found, Instant::now());
        let text = render(&metrics, &readings());
        let labels =
            r#"source="shop/web",target="shop/api",protocol="tcp",port="8080",verdict="deny",rule="none""#;
        (
            value(&text, &format!("cofferdam_shadow_attempts_total{{{labels}}}")),
            value(&text, "cofferdam_policy_shadow"),
        )
    };
    let first = samples::shadowed();
    let mut next = samples::shadowed();
    next.shadowing.since += jiff::SignedDuration::from_secs(60);
    next.findings[0].attempts = 1;
    assert_eq!(count(Some(&first)), (Some(3.0), Some(1.0)));
    assert_eq!(count(Some(&next)), (Some(1.0), Some(1.0)));
    assert_eq!(count(None), (None, Some(0.0)));
}

#[test]
fn how_the_policies_stand_can_be_watched() {
    let text = render(&Metrics::new(), &readings());
    for (series, expected) in [
        ("cofferdam_policy_generation", 17.0),
        ("cofferdam_policies{mode=\"enforce\"}", 3.0),
        ("cofferdam_policies{mode=\"audit\"}", 1.0),
        ("cofferdam_policy_rules", 14.0),
        ("cofferdam_policy_last_reload_successful", 0.0),
        ("cofferdam_policy_unresolved_timeouts_total", 0.0),
        ("cofferdam_policy_named_addresses", 0.0),
        ("cofferdam_policy_names_missed_total", 0.0),
        ("cofferdam_policy_partial_workloads", 0.0),
        ("cofferdam_policy_errors_total", 2.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
}

#[test]
fn known_series_stand_at_zero_before_anything_happened() {
    let text =
        render(&Metrics::new(), &Readings { counters: Some(Counters::default()), ..Readings::default() });
    for series in [
        r#"cofferdam_records_lost_total{family="process"}"#,
        r#"cofferdam_hook_failures_total{reason="flows_full"}"#,
        r#"cofferdam_events_total{kind="flow_open"}"#,
        r#"cofferdam_events_dropped_total{sink="stream"}"#,
        r#"cofferdam_container_starts_total{runtime="docker"}"#,
        r#"cofferdam_metric_series_folded_total{metric="cofferdam_flows_total"}"#,
        r#"cofferdam_scrape_failures_total{part="ledger"}"#,
        "cofferdam_unattributed_total",
        "cofferdam_records_undecoded_total",
    ] {
        assert_eq!(value(&text, series), Some(0.0), "{series}\n{text}");
    }
}

#[test]
fn whether_policies_are_enforced_can_be_watched_with_its_age() {
    let text = render(&Metrics::new(), &readings());
    assert_eq!(value(&text, "cofferdam_enforcement_verified"), Some(0.0));
    assert_eq!(value(&text, "cofferdam_enforcement_verified_timestamp_seconds"), Some(10.0));
    assert_eq!(value(&text, "cofferdam_enforcement_foreign_programs"), Some(1.0));
    assert_eq!(value(&text, r#"cofferdam_enforcement_mended_total{what="hook"}"#), Some(0.0));
    let canaries =
        |outcome| value(&text, &format!("cofferdam_enforcement_canaries{{outcome=\"{outcome}\"}}"));
    assert_eq!(["right", "wrong", "impossible"].map(canaries), [Some(0.0), Some(1.0), Some(0.0)]);
    assert_eq!(value(&text, "cofferdam_enforcement_canaries_timestamp_seconds"), Some(5.0));
    let nothing = render(&Metrics::new(), &Readings::default());
    assert_eq!(value(&nothing, "cofferdam_enforcement_verified"), None);
}

#[test]
fn a_refused_hook_shows_as_not_attached() {
    let text = render(&Metrics::new(), &readings());
    assert_eq!(value(&text, r#"cofferdam_hook_attached{hook="cgroup_skb_egress"}"#), Some(1.0));
    assert_eq!(value(&text, r#"cofferdam_hook_attached{hook="sched_process_exec"}"#), Some(0.0));
    // A host that may do without it is not to be alarmed.
    let mut without = readings();
    without.hooks.iter_mut().for_each(|hook| hook.optional = true);
    let text = render(&Metrics::new(), &without);
    assert_eq!(value(&text, r#"cofferdam_hook_attached{hook="sched_process_exec"}"#), None);
    assert_eq!(value(&text, r#"cofferdam_hook_attached{hook="cgroup_skb_egress"}"#), Some(1.0));
}

#[test]
fn a_ledger_that_cannot_be_read_leaves_its_counters_standing() {
    let metrics = Metrics::new();
    render(&metrics, &readings());
    let text = render_with(&metrics, Err(anyhow::anyhow!("it cannot be read")), &readings());
    assert!(text.contains("cofferdam_flows_total{source=\"shop/web\""), "{text}");
}

#[test]
fn a_container_counts_once_however_many_cgroups_it_makes_inside() {
    let metrics = Metrics::new();
    metrics.observe(&events::cgroup(CgroupChange::Made));
    let mut nested = events::cgroup(CgroupChange::Made);
    if let EventKind::Cgroup(cgroup) = &mut nested.kind {
        cgroup.path = cgroup.path.take().map(|path| format!("{path}/init"));
    }
    metrics.observe(&nested);
    metrics.observe(&events::cgroup(CgroupChange::Removed));
    let text = render(&metrics, &readings());
    assert_eq!(value(&text, r#"cofferdam_container_starts_total{runtime="docker"}"#), Some(1.0));
    assert_eq!(value(&text, r#"cofferdam_container_stops_total{runtime="docker"}"#), Some(1.0));
    assert_eq!(value(&text, r#"cofferdam_events_total{kind="cgroup"}"#), Some(3.0));
}

#[test]
fn execs_are_counted_by_workload() {
    let metrics = Metrics::new();
    metrics.observe(&events::exec());
    metrics.observe(&events::exec());
    let text = render(&metrics, &readings());
    assert_eq!(value(&text, r#"cofferdam_process_execs_total{workload="shop/web"}"#), Some(2.0));
}

#[test]
fn what_a_workload_missed_is_counted_by_family_and_reason() {
    let metrics = Metrics::new();
    metrics.observe(&events::lost());
    metrics.observe(&events::lost());
    let text = render(&metrics, &readings());
    for (reason, count) in [("shed", 460.0), ("lost", 34.0)] {
        let labels = format!(r#"workload="shop/web",family="network",reason="{reason}""#);
        let series = format!("cofferdam_workload_records_missing_total{{{labels}}}");
        assert_eq!(value(&text, &series), Some(count), "{text}");
    }
    assert_eq!(value(&text, r#"cofferdam_records_shed_total{family="network"}"#), Some(40.0));
}

#[test]
fn replicas_share_one_info_series() {
    let readings = Readings { containers: vec![events::web(), events::web()], ..readings() };
    let text = render(&Metrics::new(), &readings);
    let lines = text.lines().filter(|line| line.starts_with("cofferdam_workload_info{")).count();
    assert_eq!(lines, 1, "{text}");
}

#[test]
fn hostile_names_do_not_break_the_format() {
    let mut edge = samples::edge();
    edge.source = Arc::new(Workload::named(WorkloadKind::Container, "a\"} 1\ncofferdam_flows_total{x=\"\\"));
    let text = render_with(&Metrics::new(), Ok(vec![edge]), &readings());
    assert!(text.contains(r#"source="a\"} 1\ncofferdam_flows_total{x=\"\\""#), "{text}");
}

#[test]
fn every_metric_of_the_list_is_written() {
    let metrics = Metrics::new();
    metrics.observe(&events::exec());
    metrics.observe(&events::lost());
    lock(&metrics.rules).update(&denials(), Instant::now());
    lock(&metrics.shadow).update(Some(&samples::shadowed()), Instant::now());
    let verdicts = Verdicts { deny: 1, ..Verdicts::default() };
    let text = render_with(&metrics, Ok(vec![Edge { verdicts, ..samples::edge() }]), &readings());
    for definition in definitions::ALL {
        assert!(text.contains(&format!("# TYPE {} ", definition.name)), "{}\n{text}", definition.name);
    }
}
