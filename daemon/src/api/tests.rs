//! What clients get, over real sockets.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use cofferdam_common::network::{LedgerKey, LedgerRow, VERDICT_DENY, Volume};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Bytes, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::{
    config::FullPath,
    config::Policies,
    event::{Event, EventKind, Verdict},
    interaction::Edge,
    metrics::samples::hooks,
    sink::samples as events,
};

mod baseline;
mod change;
mod history;

/// The daemon's two doors, open in a temporary place.
struct Doors {
    view: View,
    socket: std::path::PathBuf,
    tcp: std::net::SocketAddr,
    cancel: CancellationToken,
    served: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Doors {
    async fn open(view: View) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let socket = std::env::temp_dir().join(format!("cofferdam-api-{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&socket);
        let unix = UnixListener::bind(&socket).expect("a socket");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (tcp, cancel) = (listener.local_addr().expect("an address"), CancellationToken::new());
        let served = vec![
            tokio::spawn(serve_unix(view.clone(), unix, cancel.clone())),
            tokio::spawn(serve_http(view.clone(), listener, cancel.clone())),
        ];
        Self { view, socket, tcp, cancel, served }
    }

    async fn ask(&self, path: &str) -> Response<Incoming> {
        let stream = UnixStream::connect(&self.socket).await.expect("the socket answers");
        request(TokioIo::new(stream), path).await
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let stream = TcpStream::connect(self.tcp).await.expect("the port answers");
        text(request(TokioIo::new(stream), path).await).await
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = text(self.ask(path).await).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).expect("the promised JSON")
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.cancel.cancel();
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn request<S>(stream: S, path: &str) -> Response<Incoming>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    send(stream, Request::get(path), Bytes::new()).await
}

async fn send<S>(stream: S, head: hyper::http::request::Builder, body: Bytes) -> Response<Incoming>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.expect("HTTP");
    tokio::spawn(connection);
    let request = head.header("host", "cofferdam").body(Full::new(body)).expect("a request");
    sender.send_request(request).await.expect("an answer")
}

async fn text(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_how_it_is_in_numbers() {
    let doors = Doors::open(samples::view(hooks())).await;
    let status: Status = doors.json("/v1/status").await;
    assert_eq!(status.state, State::Observing);
    assert_eq!((status.hooks_attached, status.hooks_refused), (1, 1));
    assert_eq!((status.interactions, status.records_shed, status.records_lost), (1, 40, 17));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_tells_why_a_hook_was_refused() {
    let doors = Doors::open(samples::view(hooks())).await;
    let health: Health = doors.json("/v1/doctor").await;
    assert_eq!(health.hooks[1].refused.as_deref(), Some("the kernel has no BTF"));
    assert_eq!(health.features, samples::features());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_brings_what_was_asked_for_as_it_happens() {
    let doors = Doors::open(samples::view(hooks())).await;
    let response = doors.ask("/v1/events?of=shop%2Fapi&kind=flow_open,process_exec").await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let mut body = response.into_body();
    for event in events::all() {
        doors.view.events.publish(event);
    }
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let frame = body.frame().await.expect("a frame").expect("data").into_data().expect("data");
        for line in std::str::from_utf8(&frame).expect("text").lines() {
            seen.push(serde_json::from_str::<Event>(line).expect("an event").kind);
        }
    }
    assert!(matches!(seen[..], [EventKind::FlowOpen(_), EventKind::Lost(_)]), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_slows_nobody_and_is_told_what_it_lost() {
    let doors = Doors::open(samples::view(hooks())).await;
    let mut body = doors.ask("/v1/events").await.into_body();
    for seq in 1..=100_000 {
        doors.view.events.publish(Event { seq, ..events::exec() });
    }
    let (mut seen, mut lost, mut text) = (0, 0, Vec::new());
    while seen + lost < 100_000 {
        text.extend_from_slice(body.frame().await.expect("a frame").expect("data").data_ref().expect("data"));
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let whole: Vec<u8> = text.drain(..whole).collect();
        for line in std::str::from_utf8(&whole).expect("text").lines() {
            match serde_json::from_str::<Event>(line).expect("an event").kind {
                EventKind::Lost(notice) => lost += notice.records,
                _ => seen += 1,
            }
        }
    }
    assert_eq!(seen + lost, 100_000);
    assert!(lost > 0);
    assert_eq!(doors.view.events.dropped(), lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_denied_is_on_the_map_with_its_time() {
    let (key, row) = samples::row(5);
    let (key, row) = (
        LedgerKey { verdict: VERDICT_DENY, ..key },
        LedgerRow { volume: Volume::default(), flows: 0, ..row },
    );
    let counts = samples::FakeCounts { rows: Mutex::new(vec![(key, row)]) };
    let doors = Doors::open(View { counts: Arc::new(counts), ..samples::view(hooks()) }).await;
    let edges: Vec<Edge> = doors.json("/v1/interactions").await;
    let [edge] = edges.as_slice() else { panic!("{edges:?}") };
    assert_eq!((edge.attempts, edge.verdicts.deny, edge.last_denied), (0, 5, Some(edge.last_seen)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_because_no_policy_is_in_force_is_said_to() {
    let doors = Doors::open(samples::view(hooks())).await;
    let path = "/v1/policy/explain?from=198.51.100.1&to=203.0.113.7&protocol=tcp&port=443";
    let explained: Explained = doors.json(path).await;
    assert_eq!((explained.generation, explained.left_out), (0, 0));
    let [answer] = explained.answers.as_slice() else { panic!("{explained:?}") };
    assert_eq!((answer.verdict, &answer.explanation), (Some(Verdict::Allow), &None));
    assert_eq!(answer.seen.map(|seen| seen.allowed), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_promised_while_the_policies_cannot_be_read() {
    let view = samples::view(hooks());
    // It is a file, and no folder.
    let folder = FullPath::of("/proc/version");
    view.policies.configure(Policies { folder, ..Policies::default() });
    view.policies.reload(&view.attribution).unwrap_err();
    let doors = Doors::open(view).await;
    let explained: Explained =
        doors.json("/v1/policy/explain?from=198.51.100.1&to=203.0.113.7&port=443").await;
    assert!(explained.problem.is_some());
    assert_eq!(explained.answers[0].verdict, None);
    let status: Status = doors.json("/v1/status").await;
    assert_eq!(status.policies.problem, explained.problem);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_make_no_sense_are_refused_with_a_sentence() {
    let doors = Doors::open(samples::view(hooks())).await;
    for (path, status, sentence) in [
        (
            "/v1/events?kind=flows",
            StatusCode::BAD_REQUEST,
            "there is no kind `flows`; the kinds are process_fork",
        ),
        ("/v1/events?who=web", StatusCode::BAD_REQUEST, "unknown field `who`"),
        ("/v1/policy/explain?from=web&to=host&port=80", StatusCode::NOT_FOUND, "nobody is called `web`"),
        ("/v1/policy/explain?from=web", StatusCode::BAD_REQUEST, "missing field `to`"),
        ("/v1/policy/explain?from=host&to=host&port=80", StatusCode::BAD_REQUEST, "is the same workload"),
        ("/v1/policy/explain?from=a&to=b&protocol=tpc", StatusCode::BAD_REQUEST, "`tpc` is no protocol"),
        ("/v1/everything", StatusCode::NOT_FOUND, "there is no such question"),
    ] {
        let (answered, body) = text(doors.ask(path).await).await;
        assert_eq!(answered, status, "{path}");
        let problem: Problem = serde_json::from_str(&body).expect("a problem");
        assert!(problem.error.contains(sentence), "{}", problem.error);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_beyond_the_limit_are_turned_away_and_places_come_back() {
    let doors = Doors::open(samples::view(hooks())).await;
    let mut readers = Vec::new();
    for _ in 0..32 {
        readers.push(doors.ask("/v1/events").await);
    }
    assert_eq!(doors.ask("/v1/events").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(doors.ask("/v1/status").await.status(), StatusCode::OK);
    readers.clear();
    let back = async {
        while doors.ask("/v1/events").await.status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), back).await.expect("a place came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_gets_the_text_format() {
    let doors = Doors::open(samples::view(hooks())).await;
    let stream = TcpStream::connect(doors.tcp).await.expect("the port answers");
    let response = request(TokioIo::new(stream), "/metrics").await;
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4");
    let (status, body) = text(response).await;
    assert_eq!(status, StatusCode::OK);
    let line = r#"cofferdam_flows_total{source="outside",target="outside",protocol="tcp",port="443"} 3"#;
    assert!(body.contains(line), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_only_with_hooks() {
    let none = Doors::open(samples::view(Vec::new())).await;
    let (status, body) = none.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "no hook is attached: the sensor has not started\n");

    let refused = Doors::open(samples::view(hooks().split_off(1))).await;
    let (status, body) = refused.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "no hook is attached: the kernel has no BTF\n");

    let some = Doors::open(samples::view(hooks())).await;
    let (status, body) = some.get("/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (
            StatusCode::OK,
            "ready; not attached: sched_process_exec; 40 records shed, 17 lost (see: cofferdam doctor)\n"
        )
    );
    assert_eq!(some.get("/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    assert!(some.get("/").await.1.contains("href=\"/metrics\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tcp_door_tells_nothing_but_metrics_and_health() {
    let doors = Doors::open(samples::view(hooks())).await;
    for path in ["/v1/status", "/v1/events", "/v1/interactions"] {
        assert_eq!(doors.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_open_streams_and_the_server() {
    let mut doors = Doors::open(samples::view(hooks())).await;
    let stream = doors.ask("/v1/events").await;
    doors.cancel.cancel();
    timeout(Duration::from_secs(5), stream.into_body().collect())
        .await
        .expect("the stream ends")
        .expect("in order");
    for served in doors.served.drain(..) {
        timeout(Duration::from_secs(5), served)
            .await
            .expect("the server ends")
            .expect("it runs")
            .expect("well");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_and_says_nothing_is_let_go() {
    let doors = Doors::open(samples::view(hooks())).await;
    let silent = TcpStream::connect(doors.tcp).await.expect("the port answers");
    timeout(Duration::from_secs(9), silent.readable())
        .await
        .expect("it is closed in time")
        .expect("a socket");
    let ended = silent.try_read(&mut [0]);
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

/// Sends raw bytes to the port; what comes back before the server closes.
async fn answer_to(doors: &Doors, parts: impl Iterator<Item = Vec<u8>>, pause: Duration) -> String {
    let (reader, mut writer) = TcpStream::connect(doors.tcp).await.expect("the port answers").into_split();
    let sending = async {
        for part in parts {
            if writer.write_all(&part).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        // Not closed by us: the server has to.
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let mut reader = reader.take(1 << 20);
    tokio::select! {
        () = sending => {}
        // An error is an end as well: the server closed while we still sent.
        _ = timeout(Duration::from_secs(30), reader.read_to_end(&mut answer)) => {}
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_head_is_too_long_is_refused() {
    let doors = Doors::open(samples::view(hooks())).await;
    let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", "x".repeat(64 << 10));
    let answer = answer_to(&doors, [head.into_bytes()].into_iter(), Duration::ZERO).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(doors.get("/healthz").await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_drips_in_is_given_up() {
    let doors = Doors::open(samples::view(hooks())).await;
    let drips = b"GET /healthz HTTP/1.1\r\nHost: ".iter().chain(std::iter::repeat_n(&b'x', 1_000));
    let answer = answer_to(&doors, drips.map(|byte| vec![*byte]), Duration::from_millis(200)).await;
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_end_is_not_read_to_its_end() {
    let doors = Doors::open(samples::view(hooks())).await;
    let head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n".to_vec();
    let sent = std::sync::atomic::AtomicUsize::new(0);
    let body = std::iter::repeat_with(|| {
        sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        vec![b'x'; 1 << 16]
    });
    let answer = answer_to(&doors, [head].into_iter().chain(body.take(1 << 14)), Duration::ZERO).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let sent = sent.into_inner();
    assert!(sent < 1 << 10, "{sent} parts of 64 KiB were taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let doors = Doors::open(samples::view(hooks())).await;
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(UnixStream::connect(&doors.socket).await.expect("a place"));
    }
    let late = doors.ask("/v1/status");
    tokio::pin!(late);
    assert!(timeout(Duration::from_millis(200), late.as_mut()).await.is_err(), "there are 64 places");
    held.clear();
    let response = timeout(Duration::from_secs(10), late).await.expect("a place came back");
    assert_eq!(response.status(), StatusCode::OK);
}
