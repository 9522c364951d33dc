//! Why a selector does not select a workload.

use serde::{Deserialize, Serialize};

use super::{Pattern, Selector, Wanted, is_called};
use crate::event::{Workload, WorkloadKind};

/// Where a workload is not as a selector wants it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mismatch {
    /// The key of the selector (`image`, `labels.tier`); `kind` where the workload is not of this host.
    pub field: String,
    /// What the selector wants there.
    pub wanted: String,
    /// What the workload has there, if anything.
    pub found: Option<String>,
}

impl Selector {
    /// Why a workload is not meant: the first of [`Selector::mismatches`].
    #[must_use]
    pub fn mismatch(&self, workload: &Workload) -> Option<Mismatch> {
        self.mismatches(workload).into_iter().next()
    }

    /// All that keeps a workload from being meant; nothing for one that is.
    #[must_use]
    pub fn mismatches(&self, workload: &Workload) -> Vec<Mismatch> {
        let asked = self.0.wanted();
        let Wanted { name, image, labels, runtime, project, service, namespace, pod, unit } = &asked;
        let mut found = Vec::new();
        use WorkloadKind::{Cgroup, Container, Host, Unit};
        if !matches!(workload.kind, Container | Unit | Host | Cgroup) {
            found.push(Mismatch {
                field: "kind".to_owned(),
                wanted: "a workload of this host".to_owned(),
                found: Some(workload.to_string()),
            });
        }
        let wanted = match name {
            Some(name) => (!is_called(workload, name)).then(|| name.clone().into()),
            None if asked.may_mean(workload) => None,
            None => workload.of_user().map(|(user, _)| format!("user-{user}/*")),
        };
        if let Some(wanted) = wanted {
            let has = Some(workload.name.clone());
            found.push(Mismatch { field: "name".to_owned(), wanted, found: has });
        }
        let mut check = |field: &str, wanted: Option<&Pattern>, has: Option<&str>| {
            if let Some(pattern) = wanted
                && !has.is_some_and(|text| pattern.matches(text))
            {
                let (field, wanted) = (field.to_owned(), pattern.clone().into());
                found.push(Mismatch { field, wanted, found: has.map(str::to_owned) });
            }
        };
        check("image", image.as_ref(), workload.image.as_deref());
        for (key, pattern) in labels {
            check(&format!("labels.{key}"), Some(pattern), workload.labels.get(key).map(String::as_str));
        }
        let kubernetes = workload.kubernetes.as_ref();
        check("project", project.as_ref(), workload.project.as_deref());
        check("service", service.as_ref(), workload.service.as_deref());
        check("namespace", namespace.as_ref(), kubernetes.map(|place| place.namespace.as_str()));
        check("pod", pod.as_ref(), kubernetes.map(|place| place.pod.as_str()));
        check("unit", unit.as_ref(), (workload.kind == Unit).then_some(workload.name.as_str()));
        if let Some(wanted) = runtime
            && workload.runtime != Some(*wanted)
        {
            let has = workload.runtime.map(|runtime| runtime.to_string());
            found.push(Mismatch { field: "runtime".to_owned(), wanted: wanted.to_string(), found: has });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sink::samples;

    fn selector(wanted: serde_json::Value) -> Selector {
        serde_json::from_value(wanted).unwrap()
    }

    #[test]
    fn what_keeps_a_workload_from_being_meant_is_told_key_by_key() {
        let wanted = json!({"name": "shop/*", "image": "redis:7", "labels": {"tier": "back", "zone": "a"},
            "runtime": "podman"});
        let mismatches = selector(wanted).mismatches(&samples::web());
        let told: Vec<_> = mismatches
            .iter()
            .map(|it| (it.field.as_str(), it.wanted.as_str(), it.found.as_deref()))
            .collect();
        let expected = [
            ("image", "redis:7", Some("registry.example/web:1.4")),
            ("labels.tier", "back", Some("front")),
            ("labels.zone", "a", None),
            ("runtime", "podman", Some("docker")),
        ];
        assert_eq!(told, expected);
        let outside = Workload::named(WorkloadKind::Outside, "192.0.2.1");
        assert_eq!(selector(json!({"name": "*"})).mismatch(&outside).unwrap().field, "kind");
    }

    #[test]
    fn there_is_no_mismatch_exactly_where_a_workload_is_selected() {
        let web = samples::web();
        for wanted in [
            json!({"name": "shop/*"}),
            json!({"name": "shop-web-1"}),
            json!({"name": "shop/db"}),
            json!({"image": "*/web:*"}),
            json!({"image": "redis"}),
            json!({"labels": {"tier": "front"}}),
            json!({"labels": {"zone": "*"}}),
            json!({"runtime": "docker"}),
            json!({"runtime": "crio"}),
            json!({"project": "shop", "service": "w*"}),
            json!({"project": "ci"}),
            json!({"service": "db"}),
            json!({"namespace": "*"}),
            json!({"pod": "*"}),
            json!({"unit": "*"}),
            json!({"name": "shop/web", "runtime": "crio"}),
        ] {
            let selector = selector(wanted.clone());
            assert_eq!(selector.mismatch(&web).is_none(), selector.selects(&web), "{wanted}");
        }
    }
}
