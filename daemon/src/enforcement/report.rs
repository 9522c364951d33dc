//! How the policies stand.

use cofferdam_common::policy::layer;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Cuts, Mended, Shadowing, Verified, Waiting};

/// How the policies stand: a part of `GET /v1/status`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// The folder.
    pub folder: String,
    /// The generation in force; zero while nothing is judged.
    pub generation: u32,
    /// When it was put in force.
    pub since: Timestamp,
    /// Policies whose denials are enforced.
    pub enforced: usize,
    /// Policies whose denials are only reported.
    pub audited: usize,
    /// Whether what no policy is about is denied, in either direction.
    #[serde(default)]
    pub denies_by_default: bool,
    /// Rules of all.
    pub rules: usize,
    /// Groups of workloads and networks that rules tell apart.
    pub identities: usize,
    /// Cgroups that count as unresolved: it is not known yet who lives there, or there is no room.
    pub unresolved: usize,
    /// How often that was not known in time.
    pub unresolved_timeouts: u64,
    /// DNS names that rules speak of.
    #[serde(default)]
    pub names: usize,
    /// Addresses that workloads were told under one of them.
    #[serde(default)]
    pub named_addresses: usize,
    /// Addresses with a name for which there was no room.
    #[serde(default)]
    pub names_missed: u64,
    /// Answers of resolvers for which there was no room.
    #[serde(default)]
    pub untold: u64,
    /// How many workloads there are for which not all is enforced.
    #[serde(default)]
    pub partial_workloads: usize,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partial: Vec<Partial>,
    /// How often not all that lives here could be put into the kernel's maps.
    #[serde(default)]
    pub errors: u64,
    /// What was wrong when they were last read; what was in force before stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What is in force for a while only, unless somebody confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Waiting>,
    /// What is only watched, beside what is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadowing>,
    /// How often nobody had confirmed it in time, so that what was in force before came back.
    #[serde(default)]
    pub went_back: u64,
    /// What became of connections that were open and are denied.
    #[serde(default)]
    pub cuts: Cuts,
    /// Whether they are really enforced; absent while nothing is judged, and until that was first looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// What was mended of that which enforces them.
    #[serde(default)]
    pub mended: Mended,
}

/// A workload for which not every layer is attached that its traffic may need.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Partial {
    /// Which workload.
    pub workload: String,
    /// The layer that is missing.
    pub missing: String,
    /// What is not judged therefore.
    pub open: String,
}

impl Partial {
    /// One whose network has no link to the host's that is judged, where its calls are not judged instead.
    #[must_use]
    pub fn without_link(workload: &str) -> Self {
        Self {
            workload: workload.to_owned(),
            missing: layer::NAMES[usize::from(layer::LSM)].to_owned(),
            open: "frames that no IP socket sends: AF_PACKET, TUN, forwarded".to_owned(),
        }
    }
}

impl Report {
    /// What the daemon does about interactions: `observing`, or `enforcing 3 policies`.
    #[must_use]
    pub fn word(&self) -> String {
        match (self.generation, self.enforced) {
            (1.., 1) => "enforcing 1 policy".to_owned(),
            (1.., 2..) => format!("enforcing {} policies", self.enforced),
            // No policy need be there for that.
            (1.., 0) if self.denies_by_default => "enforcing what is denied by default".to_owned(),
            _ => "observing".to_owned(),
        }
    }
}
