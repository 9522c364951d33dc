//! Receivers of all kinds, alive, dead and hostile.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::net::{UdpSocket, UnixDatagram};

use super::{
    samples::{Folder, alert},
    *,
};
use crate::{config::Config, event::AlertState};

/// Never again within a test, and no time lost between tries.
const PACE: Pace = Pace {
    deadline: Duration::from_secs(30),
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(10),
    repeat: Duration::from_secs(3_600),
};

/// Starts receivers as a configuration wants them.
fn start(alerts: &str, pace: Pace, journal: &Path) -> (Notify, CancellationToken) {
    let config = Config::parse(Path::new("test.yaml"), &format!("alerts: {alerts}"))
        .unwrap_or_else(|problem| panic!("{problem}"));
    let cancel = CancellationToken::new();
    let notify = Notify::start_at(&config.alerts, "host1", &Handle::current(), cancel.clone(), pace, journal);
    (notify, cancel)
}

fn started(alerts: &str) -> Notify {
    start(alerts, PACE, Path::new("/nonexistent")).0
}

/// What somebody posted: the head and the body.
struct Posted {
    head: String,
    body: String,
}

impl Posted {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A server that gives these answers, one per request, and the last one from then on.
fn server(answers: &'static [&'static str]) -> (String, Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (posted, requests) = channel();
    thread::spawn(move || {
        let mut answers = answers.iter().copied();
        let mut answer = answers.next().unwrap();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut text = Vec::new();
            let length = |text: &str| {
                let (head, body) = text.split_once("\r\n\r\n")?;
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
                (body.len() >= length.parse().ok()?).then(|| (head.to_owned(), body.to_owned()))
            };
            let (head, body) = loop {
                let mut part = [0; 4096];
                let read = stream.read(&mut part).unwrap();
                text.extend(&part[..read]);
                if let Some(whole) = length(std::str::from_utf8(&text).unwrap()) {
                    break whole;
                }
                assert!(read > 0, "half a request");
            };
            let _ = stream.write_all(answer.as_bytes());
            if answer.contains("1073741824") {
                // A gigabyte; whoever asked leaves long before.
                while stream.write_all(&[b'x'; 65_536]).is_ok() {}
            }
            answer = answers.next().unwrap_or(answer);
            if posted.send(Posted { head, body }).is_err() {
                return;
            }
        }
    });
    (address, requests)
}

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
const BROKEN: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 5\r\nconnection: close\r\n\r\nno\u{1b}[2";
const BAD: &str = "HTTP/1.1 400 Bad\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnope";

async fn next(requests: Receiver<Posted>) -> (Posted, Receiver<Posted>) {
    let wait = move || (requests.recv_timeout(Duration::from_secs(60)).expect("somebody posts"), requests);
    tokio::task::spawn_blocking(wait).await.unwrap()
}

/// The only receiver, as soon as it is like that.
async fn until(notify: &Notify, like: impl Fn(&ReceiverStatus) -> bool) -> ReceiverStatus {
    for _ in 0..6_000 {
        let [status] = notify.receivers().try_into().unwrap();
        if like(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never was: {:?}", notify.receivers());
}

#[tokio::test]
async fn nobody_is_told_where_nobody_wants_to_be() {
    let notify = started("{}");
    notify.send(&alert("a1"));
    assert!(notify.receivers().is_empty());
}

#[tokio::test]
async fn an_alertmanager_is_told_of_an_alert_again_while_it_is_open_and_of_its_end() {
    let (address, requests) = server(&[FINE]);
    let pace = Pace { repeat: Duration::from_millis(1), ..PACE };
    let (notify, _cancel) =
        start(&format!("{{alertmanagers: [\"http://{address}/am/\"]}}"), pace, Path::new("/nonexistent"));
    notify.send(&alert("a1"));
    let (first, requests) = next(requests).await;
    let (again, mut requests) = next(requests).await;
    assert!(first.head.starts_with("POST /am/api/v2/alerts HTTP/1.1\r\n"), "{}", first.head);
    let (first, again) = (first.json(), again.json());
    assert_eq!(first[0]["labels"], again[0]["labels"]);
    assert_eq!(first[0]["labels"]["alertname"], "CofferdamNewEdge");
    assert_eq!(first[0]["labels"]["instance"], "host1");
    let time = |value: &Value, key: &str| value[0][key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time(&first, "endsAt") > jiff::Timestamp::now());
    notify.send(&Alert { state: AlertState::Resolved, ..alert("a1") });
    loop {
        let (posted, rest) = next(requests).await;
        requests = rest;
        if time(&posted.json(), "endsAt") <= jiff::Timestamp::now() {
            break;
        }
    }
    // What has ended is not told again: the next one is alone.
    notify.send(&alert("a2"));
    let (posted, _requests) = next(requests).await;
    assert_eq!(posted.json().as_array().unwrap().len(), 1);
    assert_eq!(posted.json()[0]["labels"]["alert_id"], "a2");
}

#[tokio::test]
async fn each_alertmanager_is_told_though_another_is_dead() {
    let (address, requests) = server(&[FINE]);
    let notify = started(&format!("{{alertmanagers: [\"http://127.0.0.1:1\", \"http://{address}\"]}}"));
    notify.send(&alert("a1"));
    let (posted, _requests) = next(requests).await;
    assert_eq!(posted.json()[0]["annotations"]["description"], alert("a1").sentence);
    let names: Vec<_> = notify.receivers().into_iter().map(|status| status.name).collect();
    assert_eq!(names, ["alertmanager-1", "alertmanager-2"]);
}

#[tokio::test]
async fn a_webhook_is_sent_the_alert_with_headers_and_a_token_that_is_read_each_time() {
    let folder = Folder::new("token");
    std::fs::write(folder.join("token"), "first\n").unwrap();
    let (address, requests) = server(&[FINE]);
    let notify = started(&format!(
        "{{webhooks: [{{url: \"http://{address}/x?y=z\", headers: {{X-Group: edge}}, token_file: {}}}]}}",
        folder.join("token").display()
    ));
    notify.send(&alert("a1"));
    let (posted, requests) = next(requests).await;
    assert!(posted.head.starts_with("POST /x?y=z HTTP/1.1\r\n"), "{}", posted.head);
    for line in ["x-group: edge", "content-type: application/json", "authorization: Bearer first"] {
        assert!(posted.head.contains(line), "{}", posted.head);
    }
    let mut body = posted.json();
    assert_eq!(body["host"], "host1");
    body.as_object_mut().unwrap().remove("host");
    assert_eq!(serde_json::from_value::<Alert>(body).unwrap(), alert("a1"));
    std::fs::write(folder.join("token"), "second").unwrap();
    notify.send(&alert("a2"));
    let (posted, _requests) = next(requests).await;
    assert!(posted.head.contains("authorization: Bearer second"), "{}", posted.head);
}

#[tokio::test]
async fn without_its_token_nothing_is_sent_and_it_is_said_why() {
    let (address, requests) = server(&[FINE]);
    let notify =
        started(&format!("{{webhooks: [{{url: \"http://{address}\", token_file: /nonexistent/t}}]}}"));
    notify.send(&alert("a1"));
    let status = until(&notify, |status| status.failed > 1).await;
    let error = status.last_error.unwrap();
    assert!(error.starts_with("the token in /nonexistent/t cannot be read"), "{error}");
    assert_eq!((status.sent, status.dropped, status.waiting), (0, 0, 1));
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn a_webhook_is_sent_what_its_template_makes() {
    let (address, requests) = server(&[FINE]);
    let notify = started(&format!(
        "{{webhooks: [{{url: \"http://{address}\", content_type: text/plain, \
         template: \"{{{{ host }}}}: {{{{ sentence }}}}\"}}]}}"
    ));
    notify.send(&alert("a1"));
    let (posted, _requests) = next(requests).await;
    assert_eq!(posted.body, format!("host1: {}", alert("a1").sentence));
    assert!(posted.head.contains("content-type: text/plain"), "{}", posted.head);
}

#[tokio::test]
async fn what_fails_is_tried_again_and_counted_and_an_error_is_harmless() {
    let (address, requests) = server(&[BROKEN, BROKEN, FINE]);
    let slow =
        Pace { first_pause: Duration::from_millis(300), longest_pause: Duration::from_millis(300), ..PACE };
    let place = Path::new("/nonexistent");
    let (notify, _cancel) =
        start(&format!("{{webhooks: [{{url: \"http://u:pw@{address}/secret\"}}]}}"), slow, place);
    notify.send(&alert("a1"));
    let status = until(&notify, |status| status.failed > 0).await;
    assert_eq!(status.last_error.as_deref(), Some("it answered 500 Internal Server Error: no [2"));
    assert_eq!(status.place, format!("http://{address}"));
    let status = until(&notify, |status| status.sent == 1).await;
    assert_eq!((status.failed, status.dropped, status.waiting), (2, 0, 0));
    let status = until(&notify, |status| status.last_error.is_none()).await;
    assert_eq!(status.kind, "webhook");
    let bodies = requests.iter().take(3).map(|posted| posted.body).collect::<Vec<_>>();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[tokio::test]
async fn what_is_refused_for_good_is_dropped_and_stops_nothing() {
    let (address, requests) = server(&[BAD, FINE]);
    let notify = started(&format!("{{webhooks: [{{url: \"http://{address}\"}}]}}"));
    notify.send(&alert("a1"));
    notify.send(&alert("a2"));
    let status = until(&notify, |status| status.sent == 1).await;
    assert_eq!((status.failed, status.dropped, status.waiting), (1, 1, 0));
    let (_, requests) = next(requests).await;
    assert_eq!(next(requests).await.0.json()["id"], "a2");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, stolen) = server(&[FINE]);
    let redirect = format!(
        "HTTP/1.1 307 There\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let redirect: &'static str = redirect.leak();
    let (address, _requests) = server(vec![redirect].leak());
    let notify = started(&format!("{{webhooks: [{{url: \"http://{address}\"}}]}}"));
    notify.send(&alert("a1"));
    let status = until(&notify, |status| status.failed > 1).await;
    assert!(status.last_error.unwrap().contains("307"));
    assert!(stolen.try_recv().is_err(), "the alert went elsewhere");
}

#[tokio::test]
async fn of_an_endless_answer_little_is_read() {
    let (address, requests) = server(&["HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n"]);
    let notify = started(&format!("{{webhooks: [{{url: \"http://{address}\"}}]}}"));
    notify.send(&alert("a1"));
    until(&notify, |status| status.sent == 1).await;
    // The server was left in the midst of it.
    drop(next(requests).await);
}

#[tokio::test]
async fn one_that_is_dead_or_hangs_keeps_the_newest_state_of_each_alert_and_drops_what_has_no_room() {
    // Takes connections, and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| (silent, address)).unwrap();
    for place in ["127.0.0.1:1".to_owned(), silent.1.to_string()] {
        let pace = Pace { deadline: Duration::from_millis(50), ..PACE };
        let config = format!("{{webhooks: [{{url: \"http://{place}\"}}]}}");
        let (notify, cancel) = start(&config, pace, Path::new("/nonexistent"));
        for number in 0..WAITING + 10 {
            notify.send(&alert(&format!("a{number}")));
        }
        for number in 0..WAITING {
            notify.send(&Alert { state: AlertState::Resolved, ..alert(&format!("a{number}")) });
        }
        let status = until(&notify, |status| status.failed > 1).await;
        assert_eq!((status.sent, status.dropped, status.waiting), (0, 10, WAITING));
        assert!(status.last_error.is_some());
        cancel.cancel();
    }
}

#[tokio::test]
async fn what_waited_is_told_as_it_is_now_once_somebody_listens() {
    let folder = Folder::new("later");
    let place = folder.join("log");
    let notify = started(&format!("{{syslog: {}}}", place.display()));
    notify.send(&alert("a1"));
    notify.send(&alert("a2"));
    until(&notify, |status| status.failed > 0).await;
    notify.send(&Alert { state: AlertState::Resolved, ..alert("a1") });
    let log = UnixDatagram::bind(&place).unwrap();
    let mut lines = Vec::new();
    for _ in 0..2 {
        let mut line = [0; 4_096];
        let read = log.recv(&mut line).await.unwrap();
        lines.push(String::from_utf8(line[..read].to_vec()).unwrap());
    }
    lines.sort();
    assert!(lines[0].starts_with("<28>1 ") && lines[0].contains("alert_id=\"a2\""), "{lines:?}");
    assert!(lines[1].starts_with("<30>1 ") && lines[1].contains("alert_id=\"a1\""), "{lines:?}");
    until(&notify, |status| status.sent == 2).await;
}

#[tokio::test]
async fn a_syslog_is_told_over_udp_and_over_tcp() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let notify = started(&format!("{{syslog: \"udp://{}\"}}", udp.local_addr().unwrap()));
    notify.send(&alert("a1"));
    let mut line = [0; 4_096];
    let read = udp.recv(&mut line).await.unwrap();
    let over_udp = String::from_utf8(line[..read].to_vec()).unwrap();

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let notify = started(&format!("{{syslog: \"tcp://{}\"}}", tcp.local_addr().unwrap()));
    notify.send(&alert("a1"));
    let read = move || {
        let mut text = String::new();
        tcp.accept().unwrap().0.read_to_string(&mut text).map(|_| text)
    };
    let framed = tokio::task::spawn_blocking(read).await.unwrap().unwrap();
    let (length, over_tcp) = framed.split_once(' ').unwrap();
    assert_eq!(length.parse(), Ok(over_tcp.len()));
    let rest = |line: &str| line.split_once(" host1 cofferdam ").unwrap().1.to_owned();
    assert_eq!(rest(&over_udp), rest(over_tcp));
}

#[tokio::test]
async fn the_journal_is_told_with_fields() {
    let folder = Folder::new("journal");
    let journal = UnixDatagram::bind(folder.join("socket")).unwrap();
    let (notify, _cancel) = start("{journald: true}", PACE, &folder.join("socket"));
    notify.send(&alert("a1"));
    let mut entry = [0; 65_536];
    let read = journal.recv(&mut entry).await.unwrap();
    let entry = String::from_utf8(entry[..read].to_vec()).unwrap();
    assert!(entry.contains("\nCOFFERDAM_ALERT_ID=a1\n"), "{entry}");
}

#[tokio::test]
async fn a_file_has_a_line_for_each_alert() {
    let folder = Folder::new("file");
    let path = folder.join("alerts.json");
    let notify = started(&format!("{{file: {}}}", path.display()));
    notify.send(&alert("a1"));
    until(&notify, |status| status.sent == 1).await;
    notify.send(&Alert { state: AlertState::Resolved, sentence: "a\nb".to_owned(), ..alert("a1") });
    until(&notify, |status| status.sent == 2).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let states: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| format!("{} {} {}", line["host"], line["id"], line["state"]))
        .collect();
    assert_eq!(states, [r#""host1" "a1" "open""#, r#""host1" "a1" "resolved""#]);
}

#[tokio::test]
async fn of_what_an_earlier_daemon_told_only_an_alertmanager_is_told_again() {
    let folder = Folder::new("resumed");
    let path = folder.join("alerts.json");
    let (manager, posts) = server(&[FINE]);
    let (hook, requests) = server(&[FINE]);
    let notify = started(&format!(
        "{{alertmanagers: [\"http://{manager}\"], webhooks: [{{url: \"http://{hook}\"}}], file: {}}}",
        path.display()
    ));
    notify.resume(&alert("a1"));
    assert_eq!(next(posts).await.0.json()[0]["labels"]["alert_id"], "a1");
    notify.send(&alert("a2"));
    assert_eq!(next(requests).await.0.json()["id"], "a2");
    for _ in 0..6_000 {
        if notify.receivers().iter().all(|status| status.waiting == 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lines = std::fs::read_to_string(&path).unwrap();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(lines.contains("\"a2\""), "{lines}");
}
