//! What labels say: Compose's project and service, Kubernetes' namespace, pod and container.
//!
//! Anyone who may start a container can set any label. So a label counts only if it holds what its tool would write.

use std::collections::BTreeMap;

use super::text::clean;
use crate::event::Kubernetes;

/// Most labels of a container that are kept.
const LABELS_LIMIT: usize = 32;
/// Longest key and longest value of a label, in bytes.
const LABEL_LIMIT: usize = 256;
/// Longest word of Compose, in bytes.
const COMPOSE_LIMIT: usize = 64;
/// Longest name in Kubernetes, in bytes (RFC 1123 subdomain).
const KUBERNETES_LIMIT: usize = 253;

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD: &str = "io.kubernetes.pod.name";
const POD_CONTAINER: &str = "io.kubernetes.container.name";
/// How all labels begin that kubelet puts on a container itself.
const OF_KUBELET: &str = "io.kubernetes.";
/// How dockershim and CRI-O call the container that holds a pod's network.
const SANDBOX: &str = "POD";

/// Compose's project and service.
pub(super) fn compose(labels: &BTreeMap<String, String>) -> (Option<String>, Option<String>) {
    (word(labels, PROJECT, COMPOSE_LIMIT), word(labels, SERVICE, COMPOSE_LIMIT))
}

/// The place in a cluster, if kubelet wrote it there.
pub(super) fn kubernetes(labels: &BTreeMap<String, String>) -> Option<Kubernetes> {
    Some(Kubernetes {
        namespace: word(labels, POD_NAMESPACE, KUBERNETES_LIMIT)?,
        pod: word(labels, POD, KUBERNETES_LIMIT)?,
        container: word(labels, POD_CONTAINER, KUBERNETES_LIMIT).filter(|name| name != SANDBOX),
    })
}

/// A label's value, if it is plain. It must not be able to write sentences of ours.
fn word(labels: &BTreeMap<String, String>, key: &str, limit: usize) -> Option<String> {
    let word = labels.get(key)?;
    let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (plain && (1..=limit).contains(&word.len())).then(|| word.clone())
}

/// What kubelet has put on a container. All other labels of a container of a pod are its image's, whose author could have
/// it pass for another pod's.
pub(super) fn of_kubelet(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = labels.iter().filter(|(key, _)| key.starts_with(OF_KUBELET));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Labels made harmless and few, and how many were left out or shortened. Those that come first stay.
pub(super) fn bounded<'a>(
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> (BTreeMap<String, String>, u64) {
    let (mut kept, mut cut) = (BTreeMap::new(), 0);
    for (key, value) in labels {
        if kept.len() == LABELS_LIMIT {
            cut += 1;
            continue;
        }
        cut += u64::from(key.len() > LABEL_LIMIT || value.len() > LABEL_LIMIT);
        kept.entry(clean(key, LABEL_LIMIT)).or_insert_with(|| clean(value, LABEL_LIMIT));
    }
    (kept, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn what_compose_would_not_write_is_no_service() {
        for hostile in ["", "web tcp/5432 opened", "a/b", "\u{1b}[2J", &"x".repeat(300)] {
            assert_eq!(compose(&labels(&[(SERVICE, hostile)])), (None, None), "{hostile:?}");
        }
        let shop = labels(&[(PROJECT, "shop"), (SERVICE, "web")]);
        assert_eq!(compose(&shop), (Some("shop".into()), Some("web".into())));
    }

    #[test]
    fn a_pods_container_has_its_place_in_the_cluster() {
        let mut pod = labels(&[(POD_NAMESPACE, "shop"), (POD, "web-1"), (POD_CONTAINER, "nginx")]);
        let place = kubernetes(&pod).unwrap();
        assert_eq!(place.to_string(), "shop/web-1/nginx");
        pod.insert(POD_CONTAINER.to_owned(), SANDBOX.to_owned());
        assert_eq!(kubernetes(&pod).unwrap().to_string(), "shop/web-1");
        pod.insert(POD.to_owned(), "web-1 -> db".to_owned());
        assert_eq!(kubernetes(&pod), None);
    }

    #[test]
    fn too_many_and_too_long_labels_are_cut_and_counted() {
        let mut many: BTreeMap<_, _> =
            (0..40).map(|number| (format!("label{number:02}"), String::new())).collect();
        many.insert("label00".to_owned(), "x".repeat(1000));
        let (kept, cut) = bounded(&many);
        assert_eq!((kept.len(), kept["label00"].len(), cut), (LABELS_LIMIT, LABEL_LIMIT, 9));
    }
}
