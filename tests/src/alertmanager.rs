//! A real Alertmanager.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
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
    /// How its own tool is to speak to it.
    client: Option<PathBuf>,
}

/// An authority of a test's own, and a server's certificate for 127.0.0.1 that it has signed.
#[derive(Debug)]
pub struct Certificates {
    /// The authority's certificate: whoever trusts it trusts the server.
    pub authority: PathBuf,
    server: PathBuf,
    key: PathBuf,
}

impl Alertmanager {
    /// Starts one that knows of no alert.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(node: &Arc<Node>) -> anyhow::Result<Self> {
        Self::start_as(node, None)
    }

    /// [`Alertmanager::start`] for one that speaks TLS only.
    ///
    /// # Errors
    /// As [`Alertmanager::start`].
    pub fn start_secure(node: &Arc<Node>, certificates: &Certificates) -> anyhow::Result<Self> {
        Self::start_as(node, Some(certificates))
    }

    fn start_as(node: &Arc<Node>, certificates: Option<&Certificates>) -> anyhow::Result<Self> {
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
        let mut client = None;
        if let Some(Certificates { authority, server, key }) = certificates {
            let (web, tool) = (directory.join("web.yml"), directory.join("amtool.yml"));
            let server = serde_json::json!({"tls_server_config": {"cert_file": server, "key_file": key}});
            fs::write(&web, server.to_string())?;
            fs::write(&tool, serde_json::json!({"tls_config": {"ca_file": authority}}).to_string())?;
            command.arg("--web.config.file").arg(web);
            client = Some(tool);
        }
        let log = File::create(directory.join("log"))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        let scheme = if client.is_some() { "https" } else { "http" };
        let alertmanager =
            Self { node: node.clone(), child, url: format!("{scheme}://127.0.0.1:{port}"), client };
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
        let mut command = self.node.command("amtool");
        if let Some(client) = &self.client {
            command.arg("--http.config.file").arg(client);
        }
        let said = run(command.args([&url, "--output=json", "alert", "query"]))?;
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

impl Certificates {
    /// New ones, in a folder.
    ///
    /// # Errors
    /// When openssl cannot make them.
    pub fn make(node: &Node, folder: &Path) -> anyhow::Result<Self> {
        let file = |name: &str| folder.join(name);
        let (authority, server, key) = (file("authority.pem"), file("server.pem"), file("server.key"));
        let request = |name: &str, certificate: &Path, key: &Path| {
            let mut command = node.command("openssl");
            command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
            command.args(["-days", "1", "-subj", &format!("/CN={name}"), "-out"]).arg(certificate);
            command.arg("-keyout").arg(key);
            command
        };
        let authority_key = file("authority.key");
        run(&mut request("cofferdam tests", &authority, &authority_key))?;
        let mut signed = request("127.0.0.1", &server, &key);
        signed.arg("-CA").arg(&authority).arg("-CAkey").arg(&authority_key);
        signed.args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]);
        run(&mut signed)?;
        Ok(Self { authority, server, key })
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
