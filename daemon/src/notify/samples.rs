//! Alerts and folders for tests.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    event::{Alert, AlertKind, AlertState, Severity},
    event::{Protocol, Runtime, Workload, WorkloadKind},
};

/// An alert that has all that one can have.
pub(super) fn alert(id: &str) -> Alert {
    let container = |name: &str| Workload {
        runtime: Some(Runtime::Docker),
        id: Some("f00d".repeat(16)),
        container_name: Some(name.replace('/', "-") + "-1"),
        ..Workload::named(WorkloadKind::Container, name)
    };
    Alert {
        id: id.to_owned(),
        kind: AlertKind::NewEdge,
        severity: Severity::Warning,
        source: Arc::new(container("shop/web")),
        target: Some(Arc::new(container("shop/db"))),
        protocol: Some(Protocol::Tcp),
        port: Some(5_432),
        sentence: "shop/web talks to shop/db, tcp/5432, for the first time in 14 days".to_owned(),
        began: "2020-01-05T09:59:00Z".parse().expect("a time"),
        last_seen: "2020-01-05T09:59:30Z".parse().expect("a time"),
        count: 3,
        state: AlertState::Open,
        acknowledged: None,
    }
}

/// A folder of a test's own, gone with it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cofferdam-notify-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("it can be made");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
