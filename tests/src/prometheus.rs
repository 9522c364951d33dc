//! A real Prometheus that scrapes a daemon.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{
    alertmanager::Alertmanager,
    command::{output, run, wait_for},
    daemon::Daemon,
    node::Node,
};

/// Prometheus on a node, with the rules of `dist/prometheus`. Stopped when dropped.
#[derive(Debug)]
pub struct Prometheus {
    node: Arc<Node>,
    child: Child,
}

const ADDRESS: &str = "127.0.0.1:9090";

impl Prometheus {
    /// Starts one that scrapes the daemon each second.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(node: &Arc<Node>, daemon: &Daemon) -> anyhow::Result<Self> {
        Self::start_with(node, daemon, &[])
    }

    /// [`Prometheus::start`], with Alertmanagers that it tells what fires.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with(node: &Arc<Node>, daemon: &Daemon, told: &[&Alertmanager]) -> anyhow::Result<Self> {
        let directory = node.directory().join("prometheus");
        fs::create_dir_all(&directory)?;
        let settings = directory.join("prometheus.yml");
        let job = format!("{{job_name: cofferdam, static_configs: [{{targets: ['{}']}}]}}", daemon.listen());
        let every = "{scrape_interval: 1s, evaluation_interval: 1s}";
        let rules = rules().join("cofferdam.rules.yaml");
        let targets = told.iter().map(|it| it.address()).collect::<Vec<_>>().join(", ");
        let alerting = format!("{{alertmanagers: [{{static_configs: [{{targets: [{targets}]}}]}}]}}");
        fs::write(
            &settings,
            format!(
                "global: {every}\nrule_files: [{}]\nscrape_configs: [{job}]\nalerting: {alerting}\n",
                rules.display()
            ),
        )?;
        let mut command = node.command("prometheus");
        command.arg("--config.file").arg(&settings).arg("--storage.tsdb.path").arg(directory.join("data"));
        command.args(["--web.listen-address", ADDRESS]);
        let log = File::create(directory.join("log"))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        let prometheus = Self { node: node.clone(), child };
        wait_for("Prometheus", Duration::from_secs(20), || prometheus.query("up").ok())?;
        Ok(prometheus)
    }

    /// Answers a query: the list of `{metric, value}`.
    ///
    /// # Errors
    /// When Prometheus does.
    pub fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let url = format!("http://{ADDRESS}");
        let said =
            run(self.node.command("promtool").args(["query", "instant", "--format", "json", &url, query]))?;
        let answer: Value = serde_json::from_str(&said)?;
        answer.as_array().cloned().context("no list")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the rules for Prometheus are, and what tries them.
fn rules() -> PathBuf {
    dist("prometheus")
}

fn dist(what: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist").join(what)
}

/// A panel of a dashboard.
#[derive(Debug)]
pub struct Panel {
    /// Dashboard and title.
    pub name: String,
    /// What it asks Prometheus, for all hosts and one workload.
    pub queries: Vec<String>,
}

/// The panels of all dashboards in `dist/grafana` that ask for something, as they show a workload.
///
/// # Errors
/// When a dashboard cannot be read, or asks in a variable that Grafana does not have.
pub fn panels(workload: &str) -> anyhow::Result<Vec<Panel>> {
    let mut panels = Vec::new();
    for entry in fs::read_dir(dist("grafana"))? {
        let path = entry?.path();
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        for panel in dashboard["panels"].as_array().context("no panels")? {
            let targets = panel["targets"].as_array().into_iter().flatten();
            let queries = targets.filter_map(|target| target["expr"].as_str());
            let filled = |query: &str| {
                let query = query.replace("$__rate_interval", "30s").replace("$workload", workload);
                let query = query.replace("$instance", ".*");
                ensure!(!query.contains('$'), "{}: {query}", path.display());
                Ok(query)
            };
            let queries = queries.map(filled).collect::<anyhow::Result<Vec<_>>>()?;
            if !queries.is_empty() {
                panels.push(Panel { name: format!("{} / {}", dashboard["title"], panel["title"]), queries });
            }
        }
    }
    Ok(panels)
}

/// Has promtool try the rules.
///
/// # Errors
/// What it has to say against them.
pub fn try_rules(node: &Node) -> anyhow::Result<()> {
    for (what, file) in [("check", "cofferdam.rules.yaml"), ("test", "cofferdam.rules.test.yaml")] {
        run(node.command("promtool").args([what, "rules"]).arg(rules().join(file)))?;
    }
    Ok(())
}

/// What `promtool check metrics` has to say about a page; nothing when it is clean.
///
/// # Errors
/// When promtool cannot be run.
pub fn lint(node: &Node, page: &str) -> anyhow::Result<String> {
    let file = node.directory().join("metrics.txt");
    fs::write(&file, page)?;
    let output =
        output(node.command("promtool").args(["check", "metrics"]).stdin(Stdio::from(File::open(file)?)))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
    Ok(if output.status.success() { said } else { format!("{}: {said}", output.status) })
}
