//! One foreign crate, one door: which module of the daemon may name which crate.

use super::{nothing_breaks, source};

/// Crates that are named in these modules only. A crate that is not listed here may be named anywhere.
const DOORS: &[(&str, &[&str])] = &[
    ("annotate_snippets", &["config::snippet"]),
    ("anstream", &["cli", ""]),
    ("axum", &["api"]),
    ("aya", &["sensor"]),
    ("backon", &["notify", "attribution::runtime::docker"]),
    ("bollard", &["attribution::runtime::docker"]),
    ("btfparse", &["sensor"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("cofferdam_query", &["sensor"]),
    ("comfy_table", &["cli"]),
    ("containerd_client", &["attribution::runtime::containerd"]),
    ("domain", &["attribution::dns"]),
    ("http_body_util", &["api", "cli", "attribution::runtime::docker"]),
    // The transport under bollard bounds what a socket may send.
    ("hyper", &["api", "cli", "attribution::runtime::docker"]),
    ("hyper_util", &["api", "cli", "attribution::runtime::docker"]),
    // Each option of the daemon goes before a key of the file.
    ("clap", &["cli", "", "config::options"]),
    ("fnv", &["event::id", "policy::names"]),
    ("globset", &["config::select"]),
    (
        "ipnet",
        &[
            "config::outside",
            "attribution::outside",
            "attribution::scope",
            "baseline::learn::fold",
            "policy",
            "sensor::policy",
        ],
    ),
    ("prefix_trie", &["attribution::outside", "policy::networks"]),
    ("lru", &["attribution::names", "attribution::published", "history", "interaction::recent"]),
    ("minijinja", &["config::alerts::template"]),
    // /proc: processes for attribution, open files to find a socket, our own for the metrics, mounts and capabilities for
    // the features.
    ("procfs", &["attribution", "cut", "metrics", "sensor::features"]),
    ("prometheus", &["metrics"]),
    // What a policy may be, and the selectors and runtimes that it names.
    ("schemars", &["policy::document", "config::select", "event::workload"]),
    // Who posts; and what is an URL, and what a header, as the configuration says them.
    ("reqwest", &["notify::http", "config::alerts"]),
    ("resolv_conf", &["config::resolvers"]),
    ("rusqlite", &["history"]),
    ("rustix", &["cut"]),
    ("rustls", &["notify::http"]),
    ("sd_notify", &["pipeline"]),
    ("serde_path_to_error", &["config::problem"]),
    // Texts are read in one place; what is read there knows its place in the text. One place writes them.
    (
        "serde_saphyr",
        &["config::problem", "policy::document", "policy::expect", "policy::import", "policy::write"],
    ),
    ("socket2", &["pipeline::listen"]),
    ("strsim", &["config::problem"]),
    ("syscalls", &["syscall"]),
    ("tracing_subscriber", &["cli", ""]),
    ("zerocopy", &["sensor"]),
];

#[test]
fn a_foreign_crate_is_named_behind_its_door_only() {
    let mut strays = Vec::new();
    for source in source::daemon() {
        let module = source::module(&source.name).join("::");
        for path in source::paths(&source.file) {
            let door = DOORS.iter().find(|(name, _)| path.first().is_some_and(|first| first == name));
            let Some((name, allowed)) = door else { continue };
            if !allowed.iter().any(|allowed| is_within(&module, allowed)) {
                strays.push(format!("{} names {name} ({})", source.name, path.join("::")));
            }
        }
    }
    nothing_breaks("these crates are used outside their module", &strays);
}

/// Whether a module is that module or below it. The empty name is the root alone.
pub(super) fn is_within(module: &str, outer: &str) -> bool {
    module == outer
        || (!outer.is_empty() && module.strip_prefix(outer).is_some_and(|rest| rest.starts_with("::")))
}
