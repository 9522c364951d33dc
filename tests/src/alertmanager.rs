//! A real Alertmanager.

use std::{
    fs::{self, File},
    net::TcpListener,
    process::Child,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use serde_json::Value;

use crate::{
    command::{run, wait_for},
    node::Node,
};

/// Who is told by it: nobody.
const SETTINGS: &str =
    "route: {receiver: nobody, group_by: [alertname, instance, source]}\nreceivers: [{name: nobody}]\n";

/// Alertmanager on a node, that tells nobody. Stopped when dropped.
#[derive(Debug)]
pub struct Alertmanager {
    node: Arc<Node>,
    child: Child,
    url: String,
}

impl Alertmanager {
    /// Starts one that knows of no alert.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(node: &Arc<Node>) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let directory = node.directory().join(format!("alertmanager-{port}"));
        fs::create_dir_all(&directory)?;
        let settings = directory.join("alertmanager.yml");
        fs::write(&settings, SETTINGS)?;
        let mut command = node.command("prometheus-alertmanager");
        command.arg("--config.file").arg(&settings).arg("--storage.path").arg(directory.join("data"));
        // The second: it looks for no others.
        command
            .args([format!("--web.listen-address=127.0.0.1:{port}"), "--cluster.listen-address=".to_owned()]);
        let log = File::create(directory.join("log"))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        let alertmanager = Self { node: node.clone(), child, url: format!("http://127.0.0.1:{port}") };
        wait_for("Alertmanager", Duration::from_secs(20), || alertmanager.alerts().ok())?;
        Ok(alertmanager)
    }

    /// Where it listens, on its node.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same without `http://`, as Prometheus wants it.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// The alerts that fire, as its API tells them: `labels`, `annotations`, `startsAt`, `endsAt`, `status`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn alerts(&self) -> anyhow::Result<Vec<Value>> {
        let url = format!("--alertmanager.url={}", self.url);
        let said = run(self.node.command("amtool").args([&url, "--output=json", "alert", "query"]))?;
        let answer: Value = serde_json::from_str(&said)?;
        answer.as_array().cloned().context("no list")
    }

    /// Waits until one of this name fires, or none does any more.
    ///
    /// # Errors
    /// When that is not so within the time.
    pub fn wait_until(
        &self,
        alertname: &str,
        fires: bool,
        within: Duration,
    ) -> anyhow::Result<Option<Value>> {
        let what = format!("{alertname} that {}", if fires { "fires" } else { "fires no more" });
        wait_for(&what, within, || {
            let alerts = self.alerts().ok()?;
            let found = alerts.into_iter().find(|alert| alert["labels"]["alertname"] == alertname);
            (found.is_some() == fires).then_some(found)
        })
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
