//! What Docker, Podman and CRI-O write down about names. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::{
    super::container::{ContainerFacts, ContainerState},
    docker::Networks,
};

/// Docker's `config.v2.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    #[serde(rename = "ID")]
    id: String,
    name: Option<String>,
    /// The digest of the image; its name is in `config`.
    image: Option<String>,
    config: Option<DockerConfig>,
    network_settings: Option<DockerNetworkSettings>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerConfig {
    image: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerNetworkSettings {
    networks: Option<Networks>,
}

/// An entry of `containers.json`.
#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    /// The digest of the image; its name is in `metadata`.
    #[serde(default)]
    image: Option<String>,
    /// JSON inside JSON.
    #[serde(default)]
    metadata: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    #[serde(default)]
    image_name: Option<String>,
}

/// What Docker wrote down about a container.
pub(super) fn from_docker(json: &[u8]) -> Option<ContainerFacts> {
    let told: Docker = serde_json::from_slice(json).ok()?;
    let config = told.config;
    let (image, labels) = config.map_or((None, None), |config| (config.image, config.labels));
    // They may be written down a moment later; the API tells them in any case.
    let networks = told.network_settings.and_then(|settings| settings.networks);
    let addresses = networks.unwrap_or_default().addresses();
    Some(ContainerFacts {
        name: told.name.map(|name| name.trim_start_matches('/').to_owned()),
        image,
        image_digest: told.image,
        labels: Some(labels.unwrap_or_default()),
        state: Some(ContainerState::Running),
        addresses: Some(addresses).filter(|addresses| !addresses.is_empty()),
        ..ContainerFacts::new(told.id)
    })
}

/// What the list of Podman or CRI-O says about container `id`.
pub(super) fn from_list(json: &[u8], id: &str) -> Option<ContainerFacts> {
    let all: Vec<Stored> = serde_json::from_slice(json).ok()?;
    let told = all.into_iter().find(|stored| stored.id == id)?;
    let metadata: Option<Metadata> = told.metadata.and_then(|json| serde_json::from_str(&json).ok());
    Some(ContainerFacts {
        name: told.names.unwrap_or_default().into_iter().next(),
        image: metadata.and_then(|metadata| metadata.image_name),
        image_digest: told.image,
        state: Some(ContainerState::Running),
        ..ContainerFacts::new(told.id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_wrote_down_name_image_labels_and_addresses() {
        let json = br#"{"ID": "3f2a", "Name": "/web", "Image": "sha256:ab", "Config": {"Image": "shop:1", "Labels": {"a": "b"}},
            "NetworkSettings": {"Networks": {"shop": {"IPAMConfig": null, "IPAddress": "198.18.0.2",
            "GlobalIPv6Address": "", "IPAMOperational": false}}}}"#;
        let facts = from_docker(json).unwrap();
        assert_eq!((facts.id.as_str(), facts.name.as_deref()), ("3f2a", Some("web")));
        assert_eq!((facts.image.as_deref(), facts.labels.unwrap().len()), (Some("shop:1"), 1));
        assert_eq!(facts.image_digest.as_deref(), Some("sha256:ab"));
        assert_eq!(facts.addresses, Some(vec!["198.18.0.2".parse().unwrap()]));
        let bare = from_docker(br#"{"ID": "3f2a", "Config": {"Labels": null}}"#).unwrap();
        assert_eq!(bare.addresses, None, "they may be known later");
    }

    #[test]
    fn podman_wrote_down_name_and_image() {
        let json = br#"[{"id": "aa", "names": ["other"]},
            {"id": "3f2a", "names": ["web"], "image": "ab", "metadata": "{\"image-name\":\"localhost/shop:1\"}"}]"#;
        let facts = from_list(json, "3f2a").unwrap();
        assert_eq!((facts.name.as_deref(), facts.image.as_deref()), (Some("web"), Some("localhost/shop:1")));
        assert_eq!(facts.image_digest.as_deref(), Some("ab"));
        assert!(from_list(json, "bb").is_none());
    }

    #[test]
    fn what_is_half_written_tells_nothing() {
        assert!(from_docker(br#"{"ID": "3f2a", "Na"#).is_none());
        assert!(from_list(b"[{\"id\"", "3f2a").is_none());
    }
}
