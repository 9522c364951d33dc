//! Policies in the shadow of those in force: what they would have decided of what was seen since they were put there.
//!
//! Nothing is judged by them. The map already tells exactly who talked to whom and how often; it is only asked what came
//! to it, and what they say of that. So nothing is lost, and no packet pays for it.

use std::{collections::HashMap, mem};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    InForce, Refused,
    deviation::{Counts, Deviation, check_chosen, deviations, first_of, is_chosen},
};
use crate::{
    interaction::{Edge, EdgeKey},
    policy::{
        Plan,
        diff::decide,
        explain::End,
        folder::{FileName, NamedText},
    },
};

/// Policies in the shadow.
pub(super) struct Shadow {
    summary: Shadowing,
    plan: Plan,
    /// What there was of each interaction of the map when it was looked at first; of no other, so that it is bounded as that is.
    before: HashMap<EdgeKey, Counts>,
}

/// Which policies are in the shadow.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Shadowing {
    /// Files that are not in the folder, or not as they are there.
    pub files: Vec<FileName>,
    /// Since when.
    pub since: Timestamp,
    /// Whose interactions are looked at, as they are called; everybody's where nobody is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
}

/// What they would have decided.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Shadowed {
    /// Which they are.
    #[serde(flatten)]
    pub shadowing: Shadowing,
    /// Interactions that were seen since.
    pub interactions: usize,
    /// Of these, those that would have been decided otherwise.
    pub findings: Vec<Deviation>,
    /// Findings beyond [`super::MOST_FINDINGS`].
    pub left_out: usize,
    /// Interactions for which the policies have no room.
    pub not_judged: usize,
}

impl InForce {
    /// Puts the folder's policies, as they would be with these files, into the shadow: in place of others that are there.
    /// Interactions of those who are called as `of` are looked at. `seen` is the map as it is now. Blocks.
    ///
    /// # Errors
    /// What is wrong with them. Then nothing changes.
    pub fn shadow(&self, files: &[NamedText], of: Vec<String>, seen: &[Edge]) -> Result<Shadowing, Refused> {
        check_chosen(&of)?;
        let plan = self.plan_with(files)?;
        let files = files.iter().map(|file| file.name.clone()).collect();
        let summary = Shadowing { files, since: Timestamp::now(), of };
        let before = seen.iter().map(|edge| (edge.key(), Counts::of(edge))).collect();
        tracing::info!(files = summary.files.len(), "policies are in the shadow of those in force");
        *self.shadowing() = Some(Shadow { summary: summary.clone(), plan, before });
        Ok(summary)
    }

    /// Takes policies out of the shadow.
    ///
    /// # Errors
    /// There are none.
    pub fn end_shadow(&self) -> Result<(), Refused> {
        self.shadowing().take().map(drop).ok_or(Refused::NothingInShadow)
    }

    /// What those in the shadow would have decided of what has come to the map; `None` where there are none.
    #[must_use]
    pub fn shadowed(&self, seen: &[Edge]) -> Option<Shadowed> {
        self.shadowing().as_mut().map(|shadow| shadow.look_at(seen))
    }

    /// Which policies are in the shadow.
    #[must_use]
    pub fn in_shadow(&self) -> Option<Shadowing> {
        self.shadowing().as_ref().map(|shadow| shadow.summary.clone())
    }
}

impl Shadow {
    fn look_at(&mut self, seen: &[Edge]) -> Shadowed {
        let shadowing = self.summary.clone();
        let mut before = mem::take(&mut self.before);
        let (mut interactions, mut not_judged, mut found) = (0, 0, Vec::new());
        for edge in seen.iter().filter(|edge| shadowing.is_about(edge)) {
            let since = self.since(edge, &mut before);
            if since.packets == 0 && since.attempts == [0; 3] {
                continue;
            }
            interactions += 1;
            let ends = End::of(&edge.source).zip(End::of(&edge.target)).zip(edge.protocol.number());
            let Some(((source, target), protocol)) = ends else { continue };
            match decide(&mut self.plan, source, target, (protocol, edge.port)) {
                Ok(would_be) => found.extend(deviations(edge, since, &would_be)),
                Err(_) => not_judged += 1,
            }
        }
        let left_out = first_of(&mut found);
        Shadowed { shadowing, interactions, findings: found, left_out, not_judged }
    }

    /// What has come to an edge. One that is older and was not known is one that bears another name now: what it counts up
    /// to now came under the name before.
    fn since(&mut self, edge: &Edge, before: &mut HashMap<EdgeKey, Counts>) -> Counts {
        let (key, now) = (edge.key(), Counts::of(edge));
        let is_new = edge.first_seen >= self.summary.since;
        let before = before.remove(&key).unwrap_or(if is_new { Counts::default() } else { now });
        self.before.insert(key, before);
        now.minus(before)
    }
}

impl Shadowing {
    fn is_about(&self, edge: &Edge) -> bool {
        is_chosen(edge, &self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Policies,
        event::Verdict,
        interaction::Verdicts,
        metrics::samples::edge,
        policy::{samples, samples::OPEN},
    };

    /// Denies what `shop/web` does with `shop/api`.
    const CLOSED: &str = "policy: api\nmode: enforce\nrules: [{to: shop/api, allow: [{from: shop/other}]}]\n";

    fn shadow(text: &str, before: &[Edge], of: &[&str]) -> Shadow {
        let summary = Shadowing {
            files: Vec::new(),
            since: edge().last_seen,
            of: of.iter().map(|name| (*name).to_owned()).collect(),
        };
        let before = before.iter().map(|edge| (edge.key(), Counts::of(edge))).collect();
        Shadow { summary, plan: samples::plan("/etc/cofferdam/policies/api.yaml", text, OPEN), before }
    }

    /// After so many more attempts.
    fn later(allow: u64, deny: u64) -> Edge {
        let before = edge();
        let Verdicts { allow: allowed, .. } = before.verdicts;
        Edge {
            verdicts: Verdicts { allow: allowed + allow, audit: 0, deny },
            packets_sent: before.packets_sent + 2 * allow,
            ..before
        }
    }

    fn found(shadow: &mut Shadow, seen: &[Edge]) -> Vec<(Verdict, Verdict, u64)> {
        let found = shadow.look_at(seen).findings;
        found.iter().map(|finding| (finding.was, finding.would_be.verdict, finding.attempts)).collect()
    }

    #[test]
    fn only_what_came_since_counts() {
        let mut shadow = shadow(CLOSED, &[edge()], &[]);
        assert_eq!(shadow.look_at(&[edge()]).interactions, 0);
        assert_eq!(found(&mut shadow, &[later(3, 0)]), [(Verdict::Allow, Verdict::Deny, 3)]);
        assert_eq!(found(&mut shadow, &[later(5, 0)]), [(Verdict::Allow, Verdict::Deny, 5)]);
        let told = shadow.look_at(&[later(5, 0)]);
        assert_eq!(told.interactions, 1);
        let rule = told.findings[0].would_be.rule.as_ref().unwrap();
        assert_eq!((&*rule.label, rule.place.line), ("api#1", 3));
    }

    #[test]
    fn what_is_denied_and_would_pass_is_told_as_well() {
        let mut shadow = shadow("policy: api\nrules: []\n", &[edge()], &[]);
        assert_eq!(found(&mut shadow, &[later(2, 7)]), [(Verdict::Deny, Verdict::Allow, 7)]);
    }

    #[test]
    fn a_connection_that_was_open_before_and_goes_on_is_told_without_an_attempt() {
        let mut shadow = shadow(CLOSED, &[edge()], &[]);
        let goes_on = Edge { packets_received: edge().packets_received + 1, ..edge() };
        assert_eq!(found(&mut shadow, &[goes_on]), [(Verdict::Allow, Verdict::Deny, 0)]);
    }

    #[test]
    fn an_edge_that_has_another_name_now_is_not_counted_from_its_beginning() {
        let mut shadow = shadow(CLOSED, &[], &[]);
        assert_eq!(found(&mut shadow, &[edge()]), []);
        assert_eq!(found(&mut shadow, &[later(1, 0)]), [(Verdict::Allow, Verdict::Deny, 1)]);
        let new = Edge { port: 9, first_seen: edge().last_seen, ..edge() };
        assert_eq!(found(&mut shadow, &[new]), [(Verdict::Allow, Verdict::Deny, 415)]);
    }

    #[test]
    fn what_is_not_on_the_map_any_more_is_not_remembered() {
        let mut shadow = shadow(CLOSED, &[edge()], &[]);
        for port in 1..=100 {
            shadow.look_at(&[Edge { port, ..edge() }]);
        }
        assert_eq!(shadow.before.len(), 1);
    }

    #[test]
    fn only_those_who_were_chosen_are_looked_at() {
        let looked_at = |of| shadow(CLOSED, &[edge()], &[of]).look_at(&[later(1, 0)]).interactions;
        assert_eq!((looked_at("shop/web"), looked_at("shop/api"), looked_at("shop/db")), (1, 1, 0));
    }

    #[test]
    fn what_is_broken_leaves_those_in_the_shadow_that_are_there() {
        let place = std::env::temp_dir().join(format!("cofferdam-shadow-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let folder = crate::config::FullPath::of(place.to_str().unwrap());
        let in_force = InForce::new(Policies { folder, ..Policies::default() }, None);
        let file =
            |text: &str| [NamedText { name: "api.yaml".to_owned().try_into().unwrap(), text: text.into() }];
        assert!(in_force.shadowed(&[]).is_none() && in_force.end_shadow().is_err());
        in_force.shadow(&file(CLOSED), Vec::new(), &[]).unwrap();
        let refused = in_force.shadow(&file("policy: api\nrulez: []\n"), Vec::new(), &[]).unwrap_err();
        assert!(refused.to_string().contains("api.yaml:2"), "{refused}");
        assert!(in_force.shadowed(&[]).is_some());
        in_force.end_shadow().unwrap();
        assert_eq!(in_force.in_shadow(), None);
        std::fs::remove_dir_all(place).unwrap();
    }
}
