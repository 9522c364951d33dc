//! What policies say of what was seen, over real sockets.

use super::{change::Scene, *};
use crate::{
    baseline::{coverage::Coverage, diff::Difference},
    enforcement::Simulated,
    history::samples::Written,
};

const SPAN: &str = "since=2000-01-01T00:00:00Z&until=2200-01-01T00:00:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_asked_about_what_was_seen_and_nothing_changes() {
    let written = Written::new(&[], Vec::new());
    let scene = Scene::with_history("simulate", Arc::clone(&written.history)).await;
    let text = "policy: new\nmode: enforce\nrules: [{to: host, allow: []}]\n";
    let body = serde_json::json!({
        "files": [{"name": "new.yaml", "text": text}],
        "since": "2000-01-01T00:00:00Z",
        "until": "2200-01-01T00:00:00Z",
        "of": ["nobody"],
    });
    let answer = scene.json("/v1/policy/simulate", body.clone()).await;
    let answer: Within<Simulated> = serde_json::from_value(answer).expect("the promised JSON");
    assert_eq!((answer.schema_version, answer.found.interactions, answer.found.newly_denied), (1, 0, 0));
    let status: Status = scene.doors.json("/v1/status").await;
    assert_eq!((status.policies.audited, status.policies.enforced), (1, 0));

    let broken = body.to_string().replace("rules:", "rulez:");
    let (code, error) = scene.refused("/v1/policy/simulate", &broken).await;
    assert!(code == 422 && error.contains("new.yaml:3"), "{code} {error}");
    let (code, error) = scene.refused("/v1/policy/simulate", r#"{"files": []}"#).await;
    assert!(code == 400 && error.contains("since"), "{code} {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn coverage_and_what_is_new_are_about_a_span() {
    let written = Written::new(&samples::view(hooks()).edges().expect("the map"), Vec::new());
    let view = View { history: Arc::clone(&written.history), ..samples::view(hooks()) };
    let doors = Doors::open(view).await;
    let covered: Within<Coverage> = doors.json(&format!("/v1/policy/coverage?{SPAN}")).await;
    // Both ends of the only interaction are outside.
    assert_eq!((covered.found.interactions, covered.found.is_whole()), (0, true));
    let new: Within<Difference> = doors.json(&format!("/v1/baseline/diff?{SPAN}")).await;
    assert_eq!(new.found.gone, []);
    for path in ["/v1/policy/coverage", "/v1/baseline/diff?since=1h&until=now"] {
        assert_eq!(doors.ask(path).await.status(), StatusCode::BAD_REQUEST, "{path}");
    }
}
