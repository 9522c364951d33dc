//! What the configuration may say of receivers.

use std::path::Path;

use super::*;
use crate::config::Config;

fn parse(text: &str) -> Result<Alerts, String> {
    let read = Config::parse(Path::new("config.yaml"), text);
    read.map(|config| config.alerts).map_err(|problem| problem.line().to_owned())
}

#[test]
fn all_receivers_are_read() {
    let text = "alerts:\n  alertmanagers: [\"http://a:9093\", \"https://u:p@b/prefix/\"]\n\
        \u{20} alertmanager_token_file: /etc/token\n  webhooks:\n    - {url: \"http://127.0.0.1:1/x?y=z\"}\n\
        \u{20}   - url: https://hooks.example/T0\n      headers: {X-Key: secret}\n      content_type: text/plain\n\
        \u{20}     template: '{{ sentence }}'\n      token_file: hook\n\
        \u{20} journald: true\n  syslog: udp://127.0.0.1:514\n  file: /var/log/cofferdam/alerts.json\n";
    let alerts = parse(text).unwrap();
    let urls: Vec<_> = alerts.alertmanagers.iter().map(|address| address.join("/api/v2/alerts").to_string()).collect();
    assert_eq!(urls, ["http://a:9093/api/v2/alerts", "https://u:p@b/prefix/api/v2/alerts"]);
    assert_eq!(alerts.alertmanager_token_file.path(), Some("/etc/token".into()));
    let [plain, full] = alerts.webhooks.iter().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((plain.content_type.value(), plain.template.is_none()), ("application/json", true));
    assert_eq!((full.headers.len(), full.token_file.is_none()), (1, false));
    assert!(alerts.journald);
    assert_eq!(alerts.syslog, Syslog::Udp("127.0.0.1:514".to_owned()));
    assert_eq!(alerts.file.path(), Some("/var/log/cofferdam/alerts.json".into()));
}

#[test]
fn what_is_shown_for_debugging_and_in_logs_has_no_secret() {
    let text = "alerts:\n  webhooks: [{url: \"https://user:password@hooks.example:8443/services/key?token=key\", \
        headers: {X-Key: hidden-key}}]\n";
    let alerts = parse(text).unwrap();
    let shown = format!("{alerts:?} {}", alerts.webhooks.iter().next().unwrap().url);
    assert!(shown.contains("https://hooks.example:8443"), "{shown}");
    for secret in ["user", "password", "services", "hidden"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_without_what_stands_there() {
    let texts = [
        "alerts:\n  alertmanagers: [alertmanager]",
        "alerts:\n  alertmanagers: [\"ftp://u:password@a\"]",
        "alerts:\n  alertmanagers: [\"http://u:password@\"]",
        "alerts:\n  alertmanagers: http://a",
        "alerts:\n  alertmanager_token_file: some/where",
        "alerts:\n  webhooks: [{}]",
        "alerts:\n  webhooks: [{url: \"http://a\", method: PUT}]",
        "alerts:\n  webhooks: [{url: \"http://a\", headers: {\"a b\": x}}]",
        "alerts:\n  webhooks: [{url: \"http://a\", headers: {Host: x}}]",
        "alerts:\n  webhooks: [{url: \"http://a\", headers: {X-Key: \"password\\nX: y\"}}]",
        "alerts:\n  webhooks:\n    - url: http://a\n      template: \"{{ sentence\"",
        "alerts:\n  webhooks:\n    - url: http://a\n      template: |\n        {{ kind }}\n        {{ sentense }}\n      content_type: text/plain",
        "alerts:\n  webhooks:\n    - url: http://a\n      template: '{\"text\": \"{{ sentence }}\"}'",
        "alerts:\n  journald: often",
        "alerts:\n  syslog: http://a",
        "alerts:\n  file: alerts.json",
        "alerts:\n  files: /a",
    ];
    let all = texts.map(|text| format!("{text:?}\n    {}\n", parse(text).unwrap_err()));
    let all = all.join("");
    insta::assert_snapshot!(all, @"");
}

#[test]
fn there_are_not_too_many() {
    let of = |count: usize| format!("alerts:\n  alertmanagers: [{}]\n", "\"http://a\",".repeat(count));
    assert_eq!(parse(&of(RECEIVERS_LIMIT)).unwrap().alertmanagers.len(), RECEIVERS_LIMIT);
    assert!(parse(&of(RECEIVERS_LIMIT + 1)).is_err());
}
