//! A `NetworkPolicy` as it is written (networking.k8s.io/v1). The structs of `k8s-openapi` take keys that do not exist
//! for nothing, so that a slip would open what it was to close, and know no places.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

use crate::policy::import::page::Loose;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy::import) struct Object {
    #[serde(rename = "apiVersion", default)]
    _api_version: IgnoredAny,
    #[serde(rename = "kind", default)]
    _kind: IgnoredAny,
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) spec: Spec,
    /// Some versions of Kubernetes wrote it.
    #[serde(rename = "status", default)]
    _status: IgnoredAny,
}

/// Of what stands there, only the name is of interest.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) namespace: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Spec {
    /// All pods where it is missing.
    pub(super) pod_selector: Option<Spanned<LabelSelector>>,
    pub(super) ingress: Option<Vec<Spanned<Ingress>>>,
    pub(super) egress: Option<Vec<Spanned<Egress>>>,
    pub(super) policy_types: Option<Vec<PolicyType>>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub(super) enum PolicyType {
    Ingress,
    Egress,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ingress {
    #[serde(default)]
    pub(super) from: Option<Vec<Spanned<Peer>>>,
    #[serde(default)]
    pub(super) ports: Option<Vec<Spanned<Port>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Egress {
    #[serde(default)]
    pub(super) to: Option<Vec<Spanned<Peer>>>,
    #[serde(default)]
    pub(super) ports: Option<Vec<Spanned<Port>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Peer {
    pub(super) pod_selector: Option<Spanned<LabelSelector>>,
    pub(super) namespace_selector: Option<Spanned<LabelSelector>>,
    pub(super) ip_block: Option<IpBlock>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IpBlock {
    pub(super) cidr: Spanned<String>,
    #[serde(default)]
    pub(super) except: Option<Vec<Spanned<String>>>,
}

/// All of it must hold. Selects everything where it is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct LabelSelector {
    pub(super) match_labels: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) match_expressions: Option<Vec<Spanned<Expression>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expression {
    pub(super) key: String,
    pub(super) operator: Operator,
    #[serde(default)]
    pub(super) values: Option<Vec<Spanned<String>>>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub(super) enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Port {
    pub(super) protocol: Option<Protocol>,
    pub(super) port: Option<Loose>,
    pub(super) end_port: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}
