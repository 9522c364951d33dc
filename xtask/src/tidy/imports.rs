//! Who may import whom inside the daemon: stages of the data path do not know each other.

use super::{doors::is_within, nothing_breaks, source};

/// A module, and the modules that it may name besides itself. What is not listed (the root, `pipeline`, `cli`) puts
/// the stages together and may name all.
///
/// Of `sensor`, others see the plain values that it makes, never what loads and reads.
const IMPORTS: &[(&str, &[&str])] = &[
    ("sensor", &["metrics"]),
    ("event", &[]),
    ("interaction", &["event", "sensor::clock"]),
    // What was seen, as the map has it, and which events of it somebody asks for.
    ("history", &["event", "interaction", "sink"]),
    // Whose calls are counted is the configuration's to say and the kernel's to be told.
    ("syscall", &["config", "event", "sensor::counts"]),
    ("attribution", &["event", "metrics", "sensor::clock", "sensor::record"]),
    ("history", &["interaction"]),
    // Pure: what was seen becomes policies, and policies are asked about it.
    ("baseline", &["config", "event", "history", "interaction", "policy"]),
    // Pure: what the kernel is told comes of documents and workloads alone.
    ("policy", &["config", "event"]),
    // What the policies say is put into the kernel's maps, for whoever lives here; and what others would say is told by what
    // was seen.
    (
        "enforcement",
        &[
            "attribution",
            // Who is the same when his container is replaced.
            "baseline::lasting_name",
            "config",
            "event",
            "history",
            "interaction",
            "policy",
            // What workloads were told is valid until some time of the kernel's.
            "sensor::clock",
            "sensor::policy",
            "sensor::standing",
        ],
    ),
    // Whose sockets they are, and what became of them.
    ("cut", &["attribution", "enforcement"]),
    // Who they are, what they may, and by which links.
    ("canary", &["attribution", "links", "policy"]),
    // Of the event, what a selector selects, and which characters are hostile. Of the alert, what templates have.
    ("config", &["event"]),
    ("sink", &["event", "interaction", "metrics"]),
    // Who is told, and what.
    ("notify", &["config", "event"]),
    (
        "metrics",
        &[
            "event",
            "history",
            "interaction",
            "view",
            "attribution",
            "config",
            "enforcement",
            "notify",
            "policy",
            "sensor::counts",
            "sink",
            "syscall",
        ],
    ),
    (
        "view",
        &[
            "attribution",
            "baseline",
            "config",
            "enforcement",
            "event",
            "history",
            "interaction",
            "metrics",
            "notify",
            "sensor::clock",
            "sensor::counts",
            "sensor::features",
            "sink",
            "syscall",
        ],
    ),
    (
        "api",
        &[
            "baseline",
            "event",
            "history",
            "interaction",
            "metrics",
            "notify",
            "view",
            "attribution",
            "config",
            "enforcement",
            "policy",
            "sensor::counts",
            "sensor::features",
            "sink",
            "syscall",
        ],
    ),
];

#[test]
fn modules_name_only_those_they_may() {
    let mut strays = Vec::new();
    for source in source::daemon() {
        let module = source::module(&source.name);
        let Some((own, allowed)) =
            IMPORTS.iter().find(|(name, _)| module.first().is_some_and(|top| top == name))
        else {
            continue;
        };
        for path in source::paths(&source.file).iter().filter_map(|path| resolve(&module, path)) {
            let path = path.join("::");
            let known = is_within(&path, own) || allowed.iter().any(|allowed| is_within(&path, allowed));
            if !known {
                strays.push(format!("{} names {path}", source.name));
            }
        }
    }
    nothing_breaks("these imports cross a border of ARCHITECTURE.md", &strays);
}

/// What a path of ours leads to, from the daemon's root; nothing for foreign and local names.
fn resolve(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut base = match path.first()?.as_str() {
        "crate" | "cofferdam" => Vec::new(),
        "super" | "self" => module.to_vec(),
        _ => return None,
    };
    for segment in path {
        match segment.as_str() {
            "super" => drop(base.pop()),
            "crate" | "cofferdam" | "self" => (),
            name => base.push(name.to_owned()),
        }
    }
    (!base.is_empty()).then_some(base)
}

#[test]
fn paths_are_followed_to_where_they_lead() {
    let words = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
    let module = words("attribution::runtime::docker");
    let leads = |path: &str| resolve(&module, &words(path)).map(|path| path.join("::"));
    assert_eq!(leads("crate::event::Event").as_deref(), Some("event::Event"));
    assert_eq!(leads("super::super::cgroup::parse").as_deref(), Some("attribution::cgroup::parse"));
    assert_eq!(leads("super::super::super::sink").as_deref(), Some("sink"));
    assert_eq!(leads("std::fs"), None);
}
