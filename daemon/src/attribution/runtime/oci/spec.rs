//! The OCI runtime specification of a container (`config.json`), as far as it tells who it is. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::super::container::{ContainerFacts, ContainerState};

/// How containerd's CRI plugin annotates, and the label of kubelet that says the same.
const FROM_CRI: [(&str, &str); 3] = [
    ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
    ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    ("io.kubernetes.cri.container-name", "io.kubernetes.container.name"),
];
/// Where the id of the pod's sandbox is annotated: by containerd's CRI plugin and by CRI-O.
const SANDBOX: [&str; 2] = ["io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID"];
/// Where CRI-O annotates the labels of what it makes, as JSON. Those of a sandbox are its pod's.
const CRIO_LABELS: &str = "io.kubernetes.cri-o.Labels";
/// Where images are annotated: by containerd's CRI plugin and by CRI-O.
const IMAGES: [&str; 2] = ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"];
/// Where names are: nerdctl's.
const NAME: &str = "nerdctl/name";
/// Digits of an id that is unique by itself.
const ID_DIGITS: usize = 64;

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(default, rename = "cgroupsPath")]
    cgroups_path: Option<String>,
}

/// What the specification of container `id` in a namespace tells; `None` when it is none.
pub(in super::super) fn from_spec(namespace: &str, id: &str, json: &[u8]) -> Option<ContainerFacts> {
    let spec: Spec = serde_json::from_slice(json).ok()?;
    let mut labels = spec.annotations.unwrap_or_default();
    for (annotation, label) in FROM_CRI {
        if let Some(value) = labels.get(annotation).cloned() {
            labels.entry(label.to_owned()).or_insert(value);
        }
    }
    let sandbox = SANDBOX.iter().find_map(|annotation| labels.get(*annotation)).cloned();
    let of_pod = labels.get(CRIO_LABELS).filter(|_| sandbox.as_deref() == Some(id));
    let pod_labels = of_pod.and_then(|json| serde_json::from_str(json).ok());
    let cgroup_path = spec.linux.and_then(|linux| linux.cgroups_path).map(|path| cgroup(&path));
    Some(ContainerFacts {
        // Annotations are all labels that CRI's containers have; of others the API has more.
        lacks_labels: sandbox.is_none(),
        name: labels.get(NAME).cloned().or_else(|| (!is_number(id)).then(|| id.to_owned())),
        image: IMAGES.iter().find_map(|image| labels.get(*image)).cloned(),
        cgroup_path,
        labels: Some(labels),
        sandbox,
        pod_labels,
        state: Some(ContainerState::Running),
        ..ContainerFacts::new(whole_id(namespace, id))
    })
}

/// The id as we keep it: one that somebody chose is unique in its namespace only.
pub(in super::super) fn whole_id(namespace: &str, id: &str) -> String {
    if is_number(id) || namespace.is_empty() { id.to_owned() } else { format!("{namespace}/{id}") }
}

/// Whether an id was made by a runtime, and not chosen by somebody.
pub(super) fn is_number(id: &str) -> bool {
    id.len() == ID_DIGITS && id.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// A path in the hierarchy. systemd's driver writes `machine-web.slice:ctr:web` for
/// `/machine.slice/machine-web.slice/ctr-web.scope`.
fn cgroup(path: &str) -> String {
    let mut parts = path.splitn(3, ':');
    let (Some(slice), Some(prefix), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        // runc puts what is relative below the root.
        return if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    };
    let stem = slice.strip_suffix(".slice").unwrap_or("system");
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    let outer: String =
        ends.filter_map(|end| stem.get(..end)).map(|outer| format!("/{outer}.slice")).collect();
    format!("{outer}/{prefix}-{name}.scope")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_with_a_chosen_id_tells_where_it_is() {
        let facts = from_spec("default", "web", br#"{"linux": {"cgroupsPath": "/default/web"}}"#).unwrap();
        assert_eq!((facts.id.as_str(), facts.name.as_deref()), ("default/web", Some("web")));
        assert_eq!(facts.cgroup_path.as_deref(), Some("/default/web"));
    }

    #[test]
    fn annotations_of_cri_become_the_labels_of_kubelet() {
        let json = br#"{"annotations": {"io.kubernetes.cri.sandbox-namespace": "shop",
            "io.kubernetes.cri.sandbox-name": "web-1", "io.kubernetes.cri.container-name": "nginx",
            "io.kubernetes.cri.image-name": "nginx:1"}}"#;
        let facts = from_spec("k8s.io", &"a".repeat(64), json).unwrap();
        assert_eq!(facts.id, "a".repeat(64));
        assert_eq!((facts.name, facts.image.as_deref()), (None, Some("nginx:1")));
        assert_eq!(facts.labels.unwrap()["io.kubernetes.pod.name"], "web-1");
    }

    #[test]
    fn cri_o_tells_the_labels_of_a_pod_at_its_sandbox() {
        let json = br#"{"annotations": {"io.kubernetes.cri-o.SandboxID": "aa",
            "io.kubernetes.cri-o.Labels": "{\"app\": \"web\"}"}}"#;
        let facts = from_spec("", "aa", json).unwrap();
        assert_eq!((facts.sandbox.as_deref(), &*facts.pod_labels.unwrap()["app"]), (Some("aa"), "web"));
        let member = from_spec("", "bb", json).unwrap();
        assert_eq!((member.sandbox.as_deref(), member.pod_labels), (Some("aa"), None));
    }

    #[test]
    fn a_scope_of_systemd_is_found_in_its_slices() {
        assert_eq!(cgroup("machine-web.slice:ctr:web"), "/machine.slice/machine-web.slice/ctr-web.scope");
        assert_eq!(cgroup(":ctr:web"), "/system.slice/ctr-web.scope");
        assert_eq!(cgroup("web"), "/web");
    }

    #[test]
    fn what_is_no_specification_tells_nothing() {
        assert!(from_spec("default", "web", b"7").is_none());
        assert!(from_spec("default", "web", b"{\"linux\": 7}").is_none());
    }
}
