//! What a webhook is sent: a template that is tried out when the configuration is read. The only user of minijinja.

use std::{
    io::{self, Write},
    sync::LazyLock,
};

use jiff::Timestamp;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, value::Serde};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::event::{Alert, AlertKind, AlertState, Severity};

/// Longest text that a template may make, in bytes.
const LONGEST_BODY: usize = 256 << 10;
/// Longest template, in bytes.
const TEMPLATE_LIMIT: usize = 64 << 10;
/// Most steps of a template: one that never ends is stopped.
const STEPS: u64 = 100_000;
/// How it is called in messages of minijinja.
const NAME: &str = "template";

/// What a webhook is sent, as a template of Jinja. Equal are those of the same text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String")]
pub struct Template(String);

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > TEMPLATE_LIMIT {
            return Err(format!("the template is longer than {TEMPLATE_LIMIT} bytes"));
        }
        compiled(&text).map_err(|error| told(&error))?;
        Ok(Self(text))
    }
}

impl Template {
    /// What is sent of an alert of the host.
    ///
    /// # Errors
    /// Why nothing can be made of it: it would be too long, or take too long. All else was found when it was tried out.
    pub fn render(&self, host: &str, alert: &Alert) -> Result<String, String> {
        self.render_value(&whole(host, alert))
    }

    /// Makes texts of alerts that have all, and that have next to nothing. Where they must be JSON, they are read as such.
    pub(super) fn try_out(&self, json: bool) -> Result<(), String> {
        for (sample, what) in [(&SAMPLES.full, "with all fields"), (&SAMPLES.bare, "without a target")] {
            let text = self.render_value(sample).map_err(|why| format!("of an alert {what}: {why}"))?;
            let read = if json { serde_json::from_str::<Value>(&text).map(drop) } else { Ok(()) };
            read.map_err(|why| {
                format!("of an alert {what}, the template makes no JSON ({why}); texts need `| tojson`, without quotes")
            })?;
        }
        Ok(())
    }

    fn render_value(&self, value: &Value) -> Result<String, String> {
        let environment = compiled(&self.0).map_err(|error| told(&error))?;
        let mut body = Bounded(Vec::new());
        let template = environment.get_template(NAME).map_err(|error| told(&error))?;
        let rendered = template.render_captured_to(Serde(value), &mut body).map(drop);
        if body.is_full() {
            return Err(format!("the text is longer than {LONGEST_BODY} bytes"));
        }
        rendered.map_err(|error| told(&error))?;
        String::from_utf8(body.0).map_err(|error| error.to_string())
    }
}

fn compiled(text: &str) -> Result<Environment<'_>, Error> {
    let mut environment = Environment::new();
    // A name that is written wrong is found here, and not by whoever waits for the alert.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(STEPS));
    environment.add_template(NAME, text)?;
    Ok(environment)
}

fn told(error: &Error) -> String {
    let what =
        error.detail().map_or_else(|| error.kind().to_string(), |why| format!("{}: {why}", error.kind()));
    match error.line() {
        Some(line) => format!("line {line} of the template: {what}"),
        None => what,
    }
}

/// Takes no more than [`LONGEST_BODY`] bytes.
struct Bounded(Vec<u8>);

impl Bounded {
    fn is_full(&self) -> bool {
        self.0.len() > LONGEST_BODY
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (LONGEST_BODY + 1).saturating_sub(self.0.len());
        self.0.extend(bytes.iter().take(room));
        if self.is_full() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What templates are tried out with.
struct Samples {
    full: Value,
    bare: Value,
}

static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
    // Others choose names: quotes and lines in them must not break what is made of them.
    let name = "shop/\"web\\\"\n";
    let full = json!({
        "host": "host", "id": "0123456789abcdef", "anomaly": AlertKind::NewEdge, "severity": Severity::Warning,
        "source": workload(name), "target": workload(name), "protocol": "tcp", "port": 5432,
        "sentence": format!("{name} talks to {name}"), "began": Timestamp::UNIX_EPOCH,
        "last_seen": Timestamp::UNIX_EPOCH, "count": 1, "state": AlertState::Acknowledged,
        "acknowledged": {"by": 0, "at": Timestamp::UNIX_EPOCH, "reason": name},
    });
    let mut bare = json!({
        "host": "host", "id": "0123456789abcdef", "anomaly": AlertKind::OddDns, "severity": Severity::Info,
        "source": {"kind": "host", "name": "host"}, "sentence": "odd", "began": Timestamp::UNIX_EPOCH,
        "last_seen": Timestamp::UNIX_EPOCH, "count": 1, "state": AlertState::Open,
    });
    fill(&mut bare, &full);
    Samples { full, bare }
});

/// A workload of which all is known.
fn workload(name: &str) -> Value {
    json!({
        "kind": "container", "name": name, "runtime": "docker", "id": "0123456789ab", "image": name,
        "image_digest": "sha256:0", "container_name": name, "project": name, "service": name,
        "kubernetes": {"namespace": name, "pod": name, "container": name}, "labels": {},
        "dns_name": name, "scope": "public",
    })
}

/// An alert with all its fields, also those that it has not: templates can ask for them.
fn whole(host: &str, alert: &Alert) -> Value {
    // Text, numbers and maps by text: nothing that JSON could not say.
    let mut value = serde_json::to_value(alert).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("host".to_owned(), host.into());
    }
    fill(&mut value, &SAMPLES.full);
    value
}

/// Gives `value` the keys that `shape` has besides, with nothing in them.
fn fill(value: &mut Value, shape: &Value) {
    let (Some(fields), Some(known)) = (value.as_object_mut(), shape.as_object()) else { return };
    for (key, shape) in known {
        let empty = || if key == "labels" { json!({}) } else { Value::Null };
        fill(fields.entry(key).or_insert_with(empty), shape);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Protocol, Workload, WorkloadKind};

    fn template(text: &str, json: bool) -> Result<Template, String> {
        let template = Template::try_from(text.to_owned())?;
        template.try_out(json).map(|()| template)
    }

    fn alert() -> Alert {
        Alert {
            id: "00c0ffee00c0ffee".to_owned(),
            kind: AlertKind::NewEdge,
            severity: Severity::Warning,
            source: Arc::new(Workload::named(WorkloadKind::Container, "shop/\"web\"")),
            target: Some(Arc::new(Workload::named(WorkloadKind::Container, "shop/db"))),
            protocol: Some(Protocol::Tcp),
            port: Some(5_432),
            sentence: "shop/\"web\" talks to shop/db".to_owned(),
            began: Timestamp::UNIX_EPOCH,
            last_seen: Timestamp::UNIX_EPOCH,
            count: 3,
            state: AlertState::Open,
            acknowledged: None,
        }
    }

    #[test]
    fn a_template_has_each_field_of_an_alert_and_those_that_it_lacks_as_none() {
        let text = "{{ host }} {{ anomaly }} {{ severity }} {{ state }} {{ source.name }} {{ source.image }} \
            {% if target %}{{ target.name }} {{ protocol }}/{{ port }}{% endif %} {{ count }} {{ acknowledged }} \
            {{ source.labels.team | default('nobody') }}";
        let text = template(text, false).unwrap().render("host1", &alert()).unwrap();
        assert_eq!(text, "host1 new_edge warning open shop/\"web\" None shop/db tcp/5432 3 None nobody");
    }

    #[test]
    fn samples_have_each_field_that_alerts_have() {
        let mut alert = alert();
        alert.acknowledged =
            Some(crate::event::Acknowledgement { by: 0, at: alert.began, reason: "it is known".to_owned() });
        let whole = whole("host", &alert);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&whole), keys(&SAMPLES.full));
        assert_eq!(keys(&SAMPLES.bare), keys(&SAMPLES.full));
        assert_eq!(keys(&whole["source"]), keys(&SAMPLES.full["source"]));
        let read: Alert = serde_json::from_value(SAMPLES.full.clone()).expect("the sample is an alert");
        assert_eq!(keys(&serde_json::to_value(&read.source).unwrap()).len(), 12, "labels are empty");
    }

    #[test]
    fn text_of_others_stays_text_in_json() {
        let text = r#"{"text": {{ (severity ~ ": " ~ sentence) | tojson }}}"#;
        let body = template(text, true).unwrap().render("host1", &alert()).unwrap();
        let read: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(read["text"], "warning: shop/\"web\" talks to shop/db");
    }

    #[test]
    fn what_would_break_when_it_is_sent_is_refused_when_it_is_read() {
        let all = [
            ("{{ sentence", false),
            ("a\n{% if %}", false),
            ("{{ sentense }}", false),
            ("{{ target.name }}", false),
            ("{{ sentence | shout }}", false),
            ("{\"text\": \"{{ sentence }}\"}", true),
            ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", false),
            ("{% for a in range(9999) %}{{ '0123456789' * 9 }}{% endfor %}", false),
            ("{% include 'other' %}", false),
        ];
        let all = all.map(|(text, json)| format!("{text:?}\n    {}\n", template(text, json).unwrap_err()));
        insta::assert_snapshot!(all.join(""), @r##"
        "{{ sentence"
            line 1 of the template: syntax error: unexpected end of input, expected end of variable block
        "a\n{% if %}"
            line 2 of the template: syntax error: unexpected end of block
        "{{ sentense }}"
            of an alert with all fields: line 1 of the template: undefined value
        "{{ target.name }}"
            of an alert without a target: line 1 of the template: undefined value
        "{{ sentence | shout }}"
            of an alert with all fields: line 1 of the template: unknown filter: filter shout is unknown
        "{\"text\": \"{{ sentence }}\"}"
            of an alert with all fields, the template makes no JSON (expected `,` or `}` at line 1 column 17); texts need `| tojson`, without quotes
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
            of an alert with all fields: line 1 of the template: engine ran out of fuel
        "{% for a in range(9999) %}{{ '0123456789' * 9 }}{% endfor %}"
            of an alert with all fields: the text is longer than 262144 bytes
        "{% include 'other' %}"
            line 1 of the template: syntax error: unknown statement include
        "##);
    }
}
