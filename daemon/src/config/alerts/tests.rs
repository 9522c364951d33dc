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
    let urls: Vec<_> =
        alerts.alertmanagers.iter().map(|address| address.join("/api/v2/alerts").to_string()).collect();
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
fn what_is_in_effect_is_shown_without_secrets() {
    let text = "alerts:\n  alertmanagers: [\"http://a:9093\", \"https://user:password@b/key\"]\n  webhooks: [{url: \
        \"https://hooks.example:8443/services/key?token=key\", headers: {X-Key: key}, token_file: hook}]\n";
    let shown = parse(text).unwrap().without_secrets();
    insta::assert_snapshot!(serde_json::to_string(&shown.alertmanagers).unwrap(), @r#"["http://a:9093/","https://***@b/***"]"#);
    insta::assert_snapshot!(
        serde_json::to_string(&shown.webhooks).unwrap(),
        @r#"[{"url":"https://hooks.example:8443/***?***","headers":{"X-Key":"***"},"content_type":"application/json","token_file":"hook"}]"#
    );
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
        "alerts:\n  webhooks:\n    - url: http://a\n      template: |\n        {{ anomaly }}\n        {{ sentense }}\n      content_type: text/plain",
        "alerts:\n  webhooks:\n    - url: http://a\n      template: '{\"text\": \"{{ sentence }}\"}'",
        "alerts:\n  journald: often",
        "alerts:\n  syslog: http://a",
        "alerts:\n  file: alerts.json",
        "alerts:\n  files: /a",
    ];
    let all = texts.map(|text| format!("{text:?}\n    {}\n", parse(text).unwrap_err()));
    let all = all.join("");
    insta::assert_snapshot!(all, @r##"
    "alerts:\n  alertmanagers: [alertmanager]"
        config.yaml:2:19: `alerts.alertmanagers[0]`: is no URL as in http://alertmanager:9093: relative URL without a base
    "alerts:\n  alertmanagers: [\"ftp://u:password@a\"]"
        config.yaml:2:19: `alerts.alertmanagers[0]`: is no URL as in http://alertmanager:9093: it begins neither with http:// nor with https://
    "alerts:\n  alertmanagers: [\"http://u:password@\"]"
        config.yaml:2:19: `alerts.alertmanagers[0]`: is no URL as in http://alertmanager:9093: empty host
    "alerts:\n  alertmanagers: http://a"
        config.yaml:2:18: `alerts.alertmanagers`: expected a list
    "alerts:\n  alertmanager_token_file: some/where"
        config.yaml:2:28: `alerts.alertmanager_token_file`: must be a path that begins with /, or the name of a credential of systemd
    "alerts:\n  webhooks: [{}]"
        config.yaml:2:14: `alerts.webhooks[0]`: lacks `url`
    "alerts:\n  webhooks: [{url: \"http://a\", method: PUT}]"
        config.yaml:2:32: `alerts.webhooks[0].method`: unknown field `method`, expected one of url, headers, content_type, template, token_file
    "alerts:\n  webhooks: [{url: \"http://a\", headers: {\"a b\": x}}]"
        config.yaml:2:42: `alerts.webhooks[0].headers.a b`: is no name of a header of HTTP
    "alerts:\n  webhooks: [{url: \"http://a\", headers: {Host: x}}]"
        config.yaml:2:42: `alerts.webhooks[0].headers.Host`: the header `host` cannot be set here
    "alerts:\n  webhooks: [{url: \"http://a\", headers: {X-Key: \"password\\nX: y\"}}]"
        config.yaml:2:49: `alerts.webhooks[0].headers.X-Key`: is no value of a header of HTTP
    "alerts:\n  webhooks:\n    - url: http://a\n      template: \"{{ sentence\""
        config.yaml:4:17: `alerts.webhooks[0].template`: line 1 of the template: syntax error: unexpected end of input, expected end of variable block
    "alerts:\n  webhooks:\n    - url: http://a\n      template: |\n        {{ anomaly }}\n        {{ sentense }}\n      content_type: text/plain"
        config.yaml:3:7: `alerts.webhooks[0]`: of an alert with all fields: line 2 of the template: undefined value
    "alerts:\n  webhooks:\n    - url: http://a\n      template: '{\"text\": \"{{ sentence }}\"}'"
        config.yaml:3:7: `alerts.webhooks[0]`: of an alert with all fields, the template makes no JSON (expected `,` or `}` at line 1 column 17); texts need `| tojson`, without quotes
    "alerts:\n  journald: often"
        config.yaml:2:13: `alerts.journald`: invalid boolean (true or false expected)
    "alerts:\n  syslog: http://a"
        config.yaml:2:11: `alerts.syslog`: must be a socket as /dev/log, or udp://HOST:PORT, or tcp://HOST:PORT
    "alerts:\n  file: alerts.json"
        config.yaml:2:9: `alerts.file`: must be the path of a file, from / on
    "alerts:\n  files: /a"
        config.yaml:2:3: `alerts.files`: unknown field `files`, expected one of alertmanagers, alertmanager_token_file, webhooks, journald, syslog, file; did you mean `file`?
    "##);
}

#[test]
fn there_are_not_too_many() {
    let of = |count: usize| format!("alerts:\n  alertmanagers: [{}]\n", "\"http://a\",".repeat(count));
    assert_eq!(parse(&of(RECEIVERS_LIMIT)).unwrap().alertmanagers.len(), RECEIVERS_LIMIT);
    assert!(parse(&of(RECEIVERS_LIMIT + 1)).is_err());
}
