//! A syslog, by RFC 5424: a socket of this host, UDP (RFC 5426), or TCP with counted octets (RFC 6587).

use std::{fmt::Write as _, process, sync::Arc};

use jiff::Timestamp;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UdpSocket, UnixDatagram, lookup_host},
};

use super::{
    Receive,
    fields::{fields, priority, shortened},
    lane::Failure,
};
use crate::{
    config::Syslog as Place,
    event::{Alert, is_hostile},
};

/// "system daemons", as syslog counts facilities.
const FACILITY: u8 = 3;
/// Longest value of a parameter, in bytes. With all others, a message stays within what each server takes.
const VALUE_LIMIT: usize = 128;
/// Longest sentence, in bytes.
const MESSAGE_LIMIT: usize = 1_024;

/// One syslog.
#[derive(Debug)]
pub(super) struct Syslog {
    place: Place,
    host: Arc<str>,
}

impl Syslog {
    /// The one at `place`, to which this host is called `host`.
    pub(super) fn new(place: Place, host: Arc<str>) -> Self {
        Self { place, host }
    }
}

impl Receive for Syslog {
    const AT_ONCE: usize = 32;

    async fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        let now = Timestamp::now();
        let lines = alerts.iter().map(|alert| line(alert, &self.host, process::id(), now));
        // Each time anew: alerts are rare, and whoever listened may be gone.
        match &self.place {
            Place::Off => {}
            Place::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                for line in lines {
                    socket.send(line.as_bytes()).await?;
                }
            }
            Place::Udp(end) => {
                let address = lookup_host(end).await?.next();
                let address = address.ok_or_else(|| Failure::passing(format!("{end} has no address")))?;
                let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(local).await?;
                socket.connect(address).await?;
                for line in lines {
                    socket.send(line.as_bytes()).await?;
                }
            }
            Place::Tcp(end) => {
                let framed: String = lines.map(|line| format!("{} {line}", line.len())).collect();
                let mut stream = TcpStream::connect(end).await?;
                stream.write_all(framed.as_bytes()).await?;
                stream.shutdown().await?;
            }
        }
        Ok(())
    }
}

/// A message of RFC 5424.
fn line(alert: &Alert, host: &str, pid: u32, now: Timestamp) -> String {
    let priority = FACILITY * 8 + priority(alert);
    let named = !host.is_empty() && host.len() <= 255 && host.bytes().all(|byte| byte.is_ascii_graphic());
    let host = if named { host } else { "-" };
    let kind = alert.kind;
    // The number is the one for examples (RFC 5612): Cofferdam has none of its own.
    let mut line = format!("<{priority}>1 {now:.6} {host} cofferdam {pid} {kind} [cofferdam@32473");
    for (name, value) in fields(alert) {
        line += &format!(" {name}=\"");
        for character in harmless(&value, VALUE_LIMIT) {
            if matches!(character, '"' | '\\' | ']') {
                line.push('\\');
            }
            line.push(character);
        }
        line.push('"');
    }
    let sentence: String = harmless(&alert.to_string(), MESSAGE_LIMIT).collect();
    let _ = write!(line, "] {sentence}");
    line
}

/// One line, whatever others wrote into it.
fn harmless(text: &str, limit: usize) -> impl Iterator<Item = char> {
    shortened(text, limit).chars().map(|character| if is_hostile(character) { ' ' } else { character })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples::alert;

    fn shown(alert: &Alert, host: &str) -> String {
        line(alert, host, 77, "2026-11-27T10:00:00.123456789Z".parse().unwrap())
    }

    #[test]
    fn a_message_is_one_of_rfc_5424() {
        insta::assert_snapshot!(shown(&alert("a1"), "host1"), @r#"<28>1 2026-11-27T10:00:00.123456Z host1 cofferdam 77 new_edge [cofferdam@32473 alert_id="a1" kind="new_edge" severity="warning" state="open" source="shop/web" target="shop/db" protocol="tcp" port="5432" count="3" container_id="f00df00df00df00df00df00df00df00df00df00df00df00df00df00df00df00d" container_name="shop-web-1"] shop/web talks to shop/db, tcp/5432, for the first time in 14 days"#);
    }

    #[test]
    fn what_others_wrote_stays_where_it_is() {
        let mut hostile = Alert { sentence: "a\n<0>1 - - b\u{1b}[2J".to_owned(), ..alert("a1") };
        Arc::make_mut(&mut hostile.source).name = "x\" y=\"z]\\\n".to_owned();
        let shown = shown(&hostile, "no host\n");
        assert!(shown.contains(r#" source="x\" y=\"z\]\\ " "#), "{shown}");
        assert!(shown.ends_with("] a <0>1 - - b [2J"), "{shown}");
        assert!(shown.contains("Z - cofferdam 77 ") && !shown.contains(is_hostile), "{shown}");
    }

    #[test]
    fn a_message_is_never_long() {
        let mut long = Alert { sentence: "ä".repeat(99_999), ..alert("a1") };
        Arc::make_mut(&mut long.source).name = "]".repeat(99_999);
        assert!(shown(&long, "host1").len() < 2_048);
    }
}
