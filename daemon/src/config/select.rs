//! Selectors: which workloads of this host a part of the configuration is about. Pure. The only user of globset.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};

mod mismatch;

pub use self::mismatch::Mismatch;
use crate::event::{Runtime, Workload, WorkloadKind};

/// Longest pattern, in bytes.
const PATTERN_LIMIT: usize = 256;
/// Most selectors in one place: each workload is compared with all.
const SELECTORS_LIMIT: usize = 256;

/// Selects workloads of this host: all that is asked for must hold.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "Wanted")]
pub struct Selector(Wanted);

/// Selects workloads that one of these selects; nothing when there is none.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<Selector>")]
pub struct Selection(Vec<Selector>);

/// What is asked for; what is left out is not asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    /// What the map calls it (`shop/web`, `nginx.service`, `/batch/jobs`, `host`), or the container's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Pattern>,
    /// The image as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Pattern>,
    /// Labels of the container, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, Pattern>,
    /// Which runtime runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<Runtime>,
}

/// Text with wildcards: `*` is any text, also with slashes, `?` one character, `[ab]` one of these, `{a,b}` either.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(GlobMatcher);

/// Characters that mean more than themselves in a pattern.
const WILDCARDS: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

impl Selector {
    /// Whether a workload is meant. Who is not on this host never is.
    #[must_use]
    pub fn selects(&self, workload: &Workload) -> bool {
        let Wanted { name, image, labels, runtime } = &self.0;
        let here = matches!(
            workload.kind,
            WorkloadKind::Container | WorkloadKind::Unit | WorkloadKind::Host | WorkloadKind::Cgroup
        );
        let is = |wanted: &Option<Pattern>, texts: &[Option<&str>]| {
            wanted.as_ref().is_none_or(|pattern| texts.iter().flatten().any(|text| pattern.matches(text)))
        };
        here && is(name, &[Some(&workload.name), workload.container_name.as_deref()])
            && is(image, &[workload.image.as_deref()])
            && labels
                .iter()
                .all(|(key, pattern)| workload.labels.get(key).is_some_and(|value| pattern.matches(value)))
            && (runtime.is_none() || *runtime == workload.runtime)
    }

    /// The name that it asks for, if that has no wildcards: no workload of another name is selected.
    #[must_use]
    pub fn exact_name(&self) -> Option<&str> {
        let name = self.0.name.as_ref()?.0.glob().glob();
        (!name.contains(WILDCARDS)).then_some(name)
    }
}

impl Selection {
    /// Whether nothing can be selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a workload is meant.
    #[must_use]
    pub fn selects(&self, workload: &Workload) -> bool {
        self.0.iter().any(|selector| selector.selects(workload))
    }
}

impl TryFrom<Vec<Selector>> for Selection {
    type Error = String;

    fn try_from(selectors: Vec<Selector>) -> Result<Self, String> {
        if selectors.len() > SELECTORS_LIMIT {
            return Err(format!("must be {SELECTORS_LIMIT} selectors at most"));
        }
        Ok(Self(selectors))
    }
}

impl TryFrom<Wanted> for Selector {
    type Error = &'static str;

    fn try_from(wanted: Wanted) -> Result<Self, Self::Error> {
        // More likely a slip than the wish for everything.
        if wanted == Wanted::default() {
            return Err("must ask for something; `name: \"*\"` selects all workloads");
        }
        Ok(Self(wanted))
    }
}

impl Pattern {
    /// Whether the whole of `text` is like that.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > PATTERN_LIMIT {
            return Err(format!("must be a pattern of 1 to {PATTERN_LIMIT} bytes"));
        }
        let glob = Glob::new(&text).map_err(|error| format!("`{text}` is no pattern: {}", error.kind()))?;
        Ok(Self(glob.compile_matcher()))
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.glob().glob().to_owned()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.glob() == other.0.glob()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.glob().glob().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::sink::samples;

    fn selector(wanted: serde_json::Value) -> Result<Selector, serde_json::Error> {
        serde_json::from_value(wanted)
    }

    fn web() -> Workload {
        let labels = [("tier".to_owned(), "front".to_owned())].into();
        Workload { labels, container_name: Some("shop-web-1".to_owned()), ..(*samples::web()).clone() }
    }

    #[test]
    fn all_that_is_asked_for_must_hold() {
        let web = web();
        for (wanted, expected) in [
            (json!({"name": "shop/*"}), true),
            (json!({"name": "*"}), true),
            (json!({"name": "s?op/{web,api}"}), true),
            (json!({"name": "shop-web-*"}), true),
            (json!({"name": "shop"}), false),
            (json!({"name": "SHOP/*"}), false),
            (json!({"image": "*"}), true),
            (json!({"image": "*/nothing:*"}), false),
            (json!({"labels": {"tier": "fr*"}}), true),
            (json!({"labels": {"tier": "back"}}), false),
            (json!({"labels": {"absent": "*"}}), false),
            (json!({"runtime": "docker"}), true),
            (json!({"runtime": "podman"}), false),
            (json!({"name": "shop/*", "runtime": "podman"}), false),
            (json!({"name": "shop/*", "runtime": "docker", "labels": {"tier": "front"}}), true),
        ] {
            assert_eq!(selector(wanted.clone()).unwrap().selects(&web), expected, "{wanted}");
        }
    }

    #[test]
    fn a_name_without_wildcards_is_an_exact_one() {
        let exact = |wanted| selector(wanted).unwrap().exact_name().map(str::to_owned);
        assert_eq!(exact(json!({"name": "shop/web"})).as_deref(), Some("shop/web"));
        assert_eq!(exact(json!({"name": "shop/web", "runtime": "docker"})).as_deref(), Some("shop/web"));
        for other in [json!({"name": "shop/*"}), json!({"name": "a{b,c}"}), json!({"image": "a"})] {
            assert_eq!(exact(other), None);
        }
    }

    #[test]
    fn units_the_host_and_cgroups_that_are_nobodys_can_be_meant_and_peers_outside_cannot() {
        let all = selector(json!({"name": "*"})).unwrap();
        for (kind, expected) in [
            (WorkloadKind::Unit, true),
            (WorkloadKind::Host, true),
            (WorkloadKind::Cgroup, true),
            (WorkloadKind::Outside, false),
            (WorkloadKind::Other, false),
            (WorkloadKind::Unknown, false),
        ] {
            assert_eq!(all.selects(&Workload::named(kind, "nginx.service")), expected, "{kind:?}");
        }
        let image = selector(json!({"image": "*"})).unwrap();
        assert!(!image.selects(&Workload::host()));
    }

    #[test]
    fn a_selector_that_asks_for_nothing_or_for_what_there_is_not_is_refused() {
        for (wanted, why) in [
            (json!({}), "must ask for something"),
            (json!({"labels": {}}), "must ask for something"),
            (json!({"nmae": "a"}), "unknown field"),
            (json!({"name": ""}), "pattern of 1 to 256 bytes"),
            (json!({"name": "x".repeat(PATTERN_LIMIT + 1)}), "pattern of 1 to 256 bytes"),
            (json!({"name": "[a"}), "is no pattern"),
            (json!({"name": "{a"}), "is no pattern"),
            (json!({"runtime": "lxc"}), "unknown variant"),
        ] {
            let error = selector(wanted.clone()).unwrap_err().to_string();
            assert!(error.contains(why), "{wanted}: {error}");
        }
    }

    #[test]
    fn one_selector_of_a_list_is_enough_and_an_empty_list_selects_nothing() {
        let selection = |wanted| serde_json::from_value::<Selection>(wanted);
        let list = selection(json!([{"name": "db"}, {"name": "shop/*"}])).unwrap();
        assert!(list.selects(&web()) && !list.is_empty());
        assert!(!selection(json!([{"name": "db"}])).unwrap().selects(&web()));
        assert!(!Selection::default().selects(&web()) && Selection::default().is_empty());
        let many = vec![json!({"name": "a"}); SELECTORS_LIMIT + 1];
        assert!(selection(many.into()).unwrap_err().to_string().contains("256 selectors at most"));
    }

    #[test]
    fn a_selector_is_shown_as_it_was_written() {
        let wanted = json!({"name": "shop/*", "labels": {"tier": "fr?nt"}, "runtime": "docker"});
        assert_eq!(serde_json::to_value(selector(wanted.clone()).unwrap()).unwrap(), wanted);
    }

    proptest! {
        #[test]
        fn no_pattern_panics_and_plain_text_is_like_itself(text in "\\PC{0,40}|[*?\\[\\]{},a\\\\!^-]{0,40}") {
            if let Ok(pattern) = Pattern::try_from(text.clone()) {
                let plain = !text.contains(['*', '?', '[', ']', '{', '}', '\\']);
                prop_assert!(!plain || pattern.matches(&text));
            }
        }
    }
}
