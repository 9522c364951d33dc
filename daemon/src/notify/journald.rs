//! The journal of systemd, by its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

use std::{path::PathBuf, sync::Arc};

use tokio::net::UnixDatagram;

use super::{
    Receive,
    fields::{fields, priority, shortened},
    lane::Failure,
};
use crate::event::{Alert, AlertKind};

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Longest value of a field, in bytes: a datagram holds all of them.
const VALUE_LIMIT: usize = 4 << 10;

/// The journal.
#[derive(Debug)]
pub(super) struct Journald {
    socket: PathBuf,
}

impl Journald {
    /// The one that listens there.
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }
}

impl Receive for Journald {
    const AT_ONCE: usize = 1;

    async fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        // Each time: the journal may be another one by now. And a socket that is connected learns when there is room.
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.socket)?;
        for alert in alerts {
            socket.send(&entry(alert)).await?;
        }
        Ok(())
    }
}

/// An entry of the journal.
fn entry(alert: &Alert) -> Vec<u8> {
    let mut entry = Vec::new();
    put(&mut entry, "MESSAGE", &alert.to_string());
    put(&mut entry, "PRIORITY", &priority(alert).to_string());
    put(&mut entry, "MESSAGE_ID", message_id(alert.kind));
    put(&mut entry, "SYSLOG_IDENTIFIER", "cofferdam");
    for (name, value) in fields(alert) {
        let name = name.to_ascii_uppercase();
        // Those of containers are called as the log drivers of the runtimes call them.
        let name = if name.starts_with("CONTAINER_") { name } else { format!("COFFERDAM_{name}") };
        put(&mut entry, &name, &value);
    }
    entry
}

/// Adds a field. A value with lines of its own says how long it is: else it could begin further fields.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = shortened(value, VALUE_LIMIT);
    entry.extend(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}

/// What `journalctl MESSAGE_ID=` asks for. Never changed: others look for them.
const fn message_id(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::NewEdge => "af5838ee090747699afafb49d8a7fc6e",
        AlertKind::NewService => "327e6b2ffa51483b8173547d27698cb4",
        AlertKind::NewDestination => "d557e61430034661b9d6a32a15e8b1f9",
        AlertKind::FanOut => "9faa64c64fd442a08817ce5acf02931b",
        AlertKind::FanIn => "f3f69ebcb07b4f559ccecb9e4b940247",
        AlertKind::Volume => "78135e30f8814608b89f5bcb2dd193a3",
        AlertKind::Exfiltration => "265bbb65ae2a44718743cdc3f2ab8be0",
        AlertKind::Beacon => "2e90f80459964fd3b6bc225197517ca1",
        AlertKind::LongLived => "43255b9ee431438bbd0534706b9d41ce",
        AlertKind::OddDns => "d1c39fed5f2f4262b5568045037cc711",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::notify::samples::alert;

    /// The fields of an entry, as the journal reads them.
    fn read(mut entry: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| *byte == b'\n').unwrap();
            let (line, rest) = (&entry[..end], &entry[end + 1..]);
            if let Some(at) = line.iter().position(|byte| *byte == b'=') {
                fields.push((text(&line[..at]), text(&line[at + 1..])));
                entry = rest;
            } else {
                let length = u64::from_le_bytes(rest[..8].try_into().unwrap());
                let length = usize::try_from(length).unwrap();
                fields.push((text(line), text(&rest[8..8 + length])));
                assert_eq!(rest[8 + length], b'\n');
                entry = &rest[8 + length + 1..];
            }
        }
        fields
    }

    #[test]
    fn an_entry_has_a_field_for_each_thing_that_one_looks_for() {
        let shown: String =
            read(&entry(&alert("a1"))).iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        insta::assert_snapshot!(shown, @r"
        MESSAGE=shop/web talks to shop/db, tcp/5432, for the first time in 14 days
        PRIORITY=4
        MESSAGE_ID=af5838ee090747699afafb49d8a7fc6e
        SYSLOG_IDENTIFIER=cofferdam
        COFFERDAM_ALERT_ID=a1
        COFFERDAM_KIND=new_edge
        COFFERDAM_SEVERITY=warning
        COFFERDAM_STATE=open
        COFFERDAM_SOURCE=shop/web
        COFFERDAM_TARGET=shop/db
        COFFERDAM_PROTOCOL=tcp
        COFFERDAM_PORT=5432
        COFFERDAM_COUNT=3
        CONTAINER_ID=f00df00df00df00df00df00df00df00df00df00df00df00df00df00df00df00d
        CONTAINER_NAME=shop-web-1
        ");
    }

    #[test]
    fn each_kind_has_an_id_of_its_own() {
        let ids: BTreeSet<_> = AlertKind::ALL.map(message_id).into();
        assert_eq!(ids.len(), AlertKind::ALL.len());
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }

    proptest! {
        #[test]
        fn no_text_of_others_becomes_a_field(sentence in "\\PC*|.*|(\n|PRIORITY=0|=|a){0,9}", name in "(?s).*") {
            let mut alert = Alert { sentence, ..alert("a1") };
            Arc::make_mut(&mut alert.source).name = name.clone();
            let fields = read(&entry(&alert));
            let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
            let expected = read(&entry(&super::super::samples::alert("a1")));
            prop_assert_eq!(names, expected.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
            prop_assert!(fields.contains(&("COFFERDAM_SOURCE".to_owned(), name)));
        }
    }
}
