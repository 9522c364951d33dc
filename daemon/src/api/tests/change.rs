//! What changes policies, over real sockets.

use std::path::PathBuf;

use super::*;

/// The doors of a daemon with a folder of its own that has `old.yaml`.
pub(super) struct Scene {
    pub(super) doors: Doors,
    folder: PathBuf,
}

impl Doors {
    async fn post(&self, path: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
        let stream = UnixStream::connect(&self.socket).await.expect("the socket answers");
        text(send(TokioIo::new(stream), Request::post(path), body.into()).await).await
    }
}

impl Scene {
    pub(super) async fn new(name: &str) -> Self {
        Self::with_history(name, Arc::default()).await
    }

    pub(super) async fn with_history(name: &str, history: Arc<crate::history::History>) -> Self {
        let folder = std::env::temp_dir().join(format!("cofferdam-change-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("old.yaml"), "policy: old\nrules: []\n").expect("a file");
        let config =
            Policies { folder: FullPath::of(folder.to_str().expect("a path")), ..Policies::default() };
        let in_force = crate::enforcement::InForce::new(config, None);
        let view = View { policies: in_force.into(), history, ..samples::view(hooks()) };
        view.policies.reload(&view.attribution).expect("it is read");
        Self { doors: Doors::open(view).await, folder }
    }

    pub(super) async fn json(&self, path: &str, body: serde_json::Value) -> serde_json::Value {
        let (status, text) = self.doors.post(path, body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    pub(super) async fn refused(&self, path: &str, body: &str) -> (u16, String) {
        let (status, text) = self.doors.post(path, body.to_owned()).await;
        let problem: Problem = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} {text}"));
        (status.as_u16(), problem.error)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A policy that denies 198.51.100.1 and all others to send to the host.
fn closed(name: &str) -> serde_json::Value {
    let text = "policy: new\nmode: enforce\nrules:\n  - {to: host, allow: []}\n";
    serde_json::json!({"files": [{"name": name, "text": text}]})
}

fn with_seconds(seconds: u64) -> serde_json::Value {
    let mut body = closed("new.yaml");
    body["seconds"] = seconds.into();
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policies_would_change_is_told_and_nothing_changes() {
    let scene = Scene::new("diff").await;
    let compared = scene.json("/v1/policy/diff", closed("new.yaml")).await;
    let change = &compared["changes"][0];
    assert_eq!(change["target"]["names"], serde_json::json!(["host"]));
    assert_eq!(
        (&change["after"]["verdict"], &change["after"]["rule"]["label"]),
        (&"deny".into(), &"new#1".into())
    );
    let place = change["after"]["rule"]["place"]["file"].as_str().expect("a place");
    assert_eq!(PathBuf::from(place), scene.folder.join("new.yaml"));
    let nothing = scene.json("/v1/policy/diff", serde_json::json!({"files": []})).await;
    assert_eq!(nothing["changes"], serde_json::json!([]));
    let status: Status = scene.doors.json("/v1/status").await;
    assert_eq!((status.policies.audited, status.policies.enforced), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_trial_is_in_the_status_and_can_be_confirmed() {
    let scene = Scene::new("try").await;
    let tried = scene.json("/v1/policy/try", with_seconds(300)).await;
    let status: Status = scene.doors.json("/v1/status").await;
    let waiting = status.policies.trial.expect("it waits");
    assert_eq!((waiting.id.into(), status.policies.enforced), (tried["id"].clone(), 1));
    let trial: crate::enforcement::Trial = scene.doors.json("/v1/policy/trial").await;
    assert_eq!((trial.id, &trial.folder), (waiting.id, &scene.folder));
    assert_eq!(scene.refused("/v1/policy/try", &with_seconds(300).to_string()).await.0, 409);
    assert_eq!(scene.refused("/v1/policy/reload", "").await.0, 409);
    assert_eq!(scene.refused("/v1/policy/confirm", r#"{"id": 99}"#).await.0, 409);
    std::fs::write(scene.folder.join("new.yaml"), &trial.files[0].text).expect("a file");
    assert_eq!(scene.refused("/v1/policy/keep", r#"{"id": 99}"#).await.0, 409);
    let kept = scene.json("/v1/policy/keep", serde_json::json!({"id": trial.id})).await;
    assert!(kept["policies"]["trial"]["seconds_left"].as_u64().is_some_and(|left| left <= 60), "{kept}");
    let confirmed = scene.json("/v1/policy/confirm", serde_json::json!({"id": trial.id})).await;
    assert_eq!(confirmed["policies"]["enforced"], 1);
    assert_eq!(scene.refused("/v1/policy/revert", "").await.0, 409);
    assert_eq!(scene.doors.ask("/v1/policy/trial").await.status(), StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_or_is_broken_is_refused() {
    let scene = Scene::new("refused").await;
    for (path, body, status, sentence) in [
        ("/v1/policy/try", "", 400, "the body is not understood"),
        ("/v1/policy/try", r#"{"files": [], "seconds": 5}"#, 400, "are needed"),
        ("/v1/policy/try", &closed("new.yaml").to_string(), 400, "are needed"),
        ("/v1/policy/try", &with_seconds(86_401).to_string(), 400, "86400 seconds at most"),
        ("/v1/policy/diff", &closed("../new.yaml").to_string(), 400, "cannot be the name of a file"),
        ("/v1/policy/diff", &closed("new.yaml/.").to_string(), 400, "cannot be the name of a file"),
        ("/v1/policy/diff", &closed("new.test.yaml").to_string(), 400, "cannot be the name of a file"),
        ("/v1/policy/diff", r#"{"files": [], "more": 1}"#, 400, "unknown field `more`"),
        ("/v1/policy/diff", r#"{"files": [{"name": "a.yaml", "text": "no"}]}"#, 422, "a.yaml:1:1"),
        ("/v1/policy/confirm", "{}", 400, "missing field `id`"),
    ] {
        let (answered, error) = scene.refused(path, body).await;
        assert_eq!(answered, status, "{path} {body}: {error}");
        assert!(error.contains(sentence), "{path} {body}: {error}");
    }
    let status: Status = scene.doors.json("/v1/status").await;
    assert_eq!((status.policies.audited, status.policies.trial), (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_an_end() {
    let scene = Scene::new("long").await;
    let (status, text) = scene.doors.post("/v1/policy/diff", vec![b' '; (32 << 20) + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    assert_eq!(scene.doors.ask("/v1/status").await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_by_reading_and_nothing_over_tcp() {
    let scene = Scene::new("doors").await;
    for path in ["diff", "try", "confirm", "revert", "reload"].map(|word| format!("/v1/policy/{word}")) {
        assert_eq!(scene.doors.ask(&path).await.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let stream = TcpStream::connect(scene.doors.tcp).await.expect("the port answers");
        let answer = send(TokioIo::new(stream), Request::post(&path), Bytes::from("{}")).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(scene.doors.get("/v1/policy/trial").await.0, StatusCode::NOT_FOUND);
}
