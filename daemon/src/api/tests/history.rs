//! Who talks to whom, and did in a time that has passed, over real sockets.

use super::*;
use crate::{history::samples::Written, metrics::samples::edge};

fn view(written: &Written) -> View {
    View { history: Arc::clone(&written.history), ..samples::view(hooks()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn interactions_are_a_list_of_edges() {
    let doors = Doors::open(samples::view(hooks())).await;
    let edges: Vec<Edge> = doors.json("/v1/interactions").await;
    let [edge] = edges.as_slice() else { panic!("{edges:?}") };
    assert_eq!((edge.port, edge.flows, edge.bytes_received), (443, 3, 20));
    assert_eq!(edge.target.name, "203.0.113.7");
    let none: Vec<crate::attribution::Container> = doors.json("/v1/containers").await;
    assert!(none.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn interactions_of_a_time_that_has_passed_come_out_of_the_history() {
    let written = Written::new(&[edge()], Vec::new());
    let doors = Doors::open(view(&written)).await;
    let ten = "2026-11-24T10:00:00Z";
    let at = async |query: &str| doors.json::<Vec<Edge>>(&format!("/v1/interactions?{query}")).await.len();
    assert_eq!(at(&format!("since={ten}&until={ten}")).await, 1);
    assert_eq!(at("since=2026-11-24T10:01:00Z").await, 0);
    assert_eq!(at("until=2026-11-24T09:59:59Z").await, 0);
    let recorded: Recorded = doors.json("/v1/history").await;
    assert_eq!((recorded.past.len(), recorded.left_out), (1, 0));
    assert_eq!((recorded.past[0].edge.flows, recorded.past[0].minutes), (edge().flows, 1));
    let bad = doors.ask("/v1/interactions?since=yesterday").await;
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_time_that_has_passed_have_an_end_and_are_of_the_kinds_that_are_kept() {
    let written = Written::new(&[], vec![events::denial(), events::alert()]);
    let doors = Doors::open(view(&written)).await;
    let (status, lines) = text(doors.ask("/v1/events?since=2026-11-24T00:00:00Z&kind=denial").await).await;
    assert_eq!(status, StatusCode::OK);
    let told: Vec<Event> = lines.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    assert_eq!(told, [events::denial()]);
    let (status, error) = text(doors.ask("/v1/events?until=2026-11-24T00:00:00Z&kind=flow_open").await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error.contains("the history keeps no `flow_open`; it keeps denial, alert, lost"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_history_that_is_said() {
    let doors = Doors::open(samples::view(hooks())).await;
    for path in ["/v1/history", "/v1/interactions?since=2026-11-24T10:00:00Z"] {
        let (status, error) = text(doors.ask(path).await).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert!(error.contains("there is no history"), "{error}");
    }
}
