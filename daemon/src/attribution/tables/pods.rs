//! Pods: what their containers have in common.

use std::sync::Arc;

use super::{super::entry::Entry, Tables};

impl Tables {
    /// Containers of a pod have the labels of the pod, which its sandbox bears. Another runtime's is none of theirs.
    pub(super) fn share_pod_labels(&mut self, key: &Arc<str>) {
        let Some(sandbox) = self.containers.get(key).and_then(|entry| entry.sandbox.clone()) else { return };
        let holder = self.containers.get(&sandbox).filter(|entry| entry.sandbox.as_ref() == Some(&sandbox));
        let Some(holder) = holder else { return };
        let (Some(labels), runtime) = (holder.pod_labels.clone(), holder.shown.workload.runtime) else {
            return;
        };
        let join = |entry: &mut Entry| {
            if entry.shown.workload.runtime == runtime { entry.join_pod(&labels) } else { 0 }
        };
        self.labels_cut += if sandbox == *key {
            let members =
                self.containers.values_mut().filter(|entry| entry.sandbox.as_ref() == Some(&sandbox));
            members.map(join).sum()
        } else {
            self.containers.get_mut(key).map_or(0, join)
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        attribution::container::{ContainerFacts, Source},
        event::Runtime,
    };

    fn told(id: &str, app: Option<&str>) -> ContainerFacts {
        let labels = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        ContainerFacts {
            labels: labels(&[("io.kubernetes.pod.namespace", "shop"), ("io.kubernetes.pod.name", id)]),
            sandbox: Some("sandbox".to_owned()),
            pod_labels: app.and_then(|app| labels(&[("app", app)])),
            ..ContainerFacts::new(id)
        }
    }

    fn labels(tables: &Tables, id: &str) -> BTreeMap<String, String> {
        let mut labels = tables.containers[id].shown.workload.labels.clone();
        labels.retain(|key, _| key == "app");
        labels
    }

    #[test]
    fn containers_have_the_labels_of_their_pod_whoever_is_told_first_and_when_they_change() {
        let containerd = Source::api(Runtime::Containerd, "containerd.sock");
        let mut tables = Tables::new();
        let apps = |tables: &Tables| {
            ["first", "second", "sandbox"]
                .map(|id| labels(tables, id).get("app").cloned().unwrap_or_default())
        };
        tables.learn(&containerd, told("first", None));
        assert_eq!(labels(&tables, "first"), BTreeMap::new());
        tables.learn(&containerd, told("sandbox", Some("web")));
        tables.learn(&containerd, told("second", None));
        assert_eq!(apps(&tables), ["web", "web", "web"]);
        tables.learn(&containerd, told("sandbox", Some("db")));
        assert_eq!(apps(&tables), ["db", "db", "db"]);
    }

    #[test]
    fn what_another_runtime_or_no_sandbox_says_is_no_pods() {
        let containerd = Source::api(Runtime::Containerd, "containerd.sock");
        let mut tables = Tables::new();
        tables.learn(&Source::api(Runtime::Docker, "docker.sock"), told("sandbox", Some("db")));
        tables.learn(&containerd, told("first", None));
        assert_eq!(labels(&tables, "first"), BTreeMap::new());
        let mut tables = Tables::new();
        let no_sandbox = ContainerFacts { sandbox: Some("other".to_owned()), ..told("sandbox", Some("db")) };
        tables.learn(&containerd, no_sandbox);
        tables.learn(&containerd, told("first", None));
        assert_eq!(labels(&tables, "first"), BTreeMap::new());
    }
}
