//! Selectors: which workloads of this host a part of the configuration or of a policy is about. Pure. The only user of
//! globset.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
};

use globset::{Glob, GlobMatcher};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

mod mismatch;

pub use self::mismatch::Mismatch;
use crate::event::{Runtime, Workload, WorkloadKind, is_hostile};

/// Longest pattern, in bytes.
const PATTERN_LIMIT: usize = 256;
/// Most selectors in one place: each workload is compared with all.
const SELECTORS_LIMIT: usize = 256;
/// What is more than itself in a pattern.
const WILDCARDS: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

/// Selects workloads of this host: all that is asked for must hold. Equal are those that ask for the same.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Selector(Asked);

/// There can be very many selectors, and nearly all of them ask for a name only.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Asked {
    Name(Pattern),
    More(Box<Wanted>),
}

/// Selects workloads that one of these selects; nothing when there is none.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<Selector>")]
pub struct Selection(Vec<Selector>);

/// What a selector asks for; what is left out is not asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Selector", extend("minProperties" = 1))]
pub(crate) struct Wanted {
    /// What the map calls it (`shop/web`, `nginx.service`, `/batch/jobs`, `host`), or the container's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Pattern>,
    /// The image as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<Pattern>,
    /// Labels of the container, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, Pattern>,
    /// Which runtime runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runtime: Option<Runtime>,
    /// Compose project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<Pattern>,
    /// Compose service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<Pattern>,
    /// Namespace of the Kubernetes pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<Pattern>,
    /// Kubernetes pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Pattern>,
    /// The systemd unit outside any container, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<Pattern>,
}

/// Text with wildcards: `*` is any text, also with slashes, `?` one character, `[ab]` one of these, `{a,b}` either.
#[derive(Clone, Deserialize, JsonSchema, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: Box<str>,
    /// What plain text with at most one `*`, at its end, cannot say. A compiled expression costs kilobytes, and there can
    /// be hundreds of thousands of patterns.
    expression: Option<Box<GlobMatcher>>,
}

impl Selector {
    /// Whether a workload is meant. Who is not on this host never is.
    #[must_use]
    pub fn selects(&self, workload: &Workload) -> bool {
        let here = matches!(
            workload.kind,
            WorkloadKind::Container | WorkloadKind::Unit | WorkloadKind::Host | WorkloadKind::Cgroup
        );
        here && match &self.0 {
            Asked::Name(name) => is_called(workload, name),
            Asked::More(wanted) => wanted.holds(workload),
        }
    }

    /// The name, where a selector asks for nothing but a name without wildcards: what is called so, or is a container of
    /// that name, is selected, and nothing else.
    #[must_use]
    pub fn exact_name(&self) -> Option<&str> {
        match &self.0 {
            Asked::Name(name) => name.exact(),
            Asked::More(_) => None,
        }
    }

    /// How names begin, where a selector asks for nothing but a name and has a `*` at its end as its only wildcard.
    #[must_use]
    pub fn name_prefix(&self) -> Option<&str> {
        match &self.0 {
            Asked::Name(name) if name.expression.is_none() => name.text.strip_suffix('*'),
            _ => None,
        }
    }

    /// Whether this selects, by what is written alone, all that the other selects. When in doubt, no.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Asked::Name(own), Asked::Name(others)) => {
                (own.names_users() || !others.names_users()) && own.covers(others)
            }
            // What asks for more than a name selects less, so that what is left out asks for nothing.
            (own, others) => own.wanted().covers(&others.wanted()),
        }
    }

    /// How many of its patterns had to be compiled: these cost memory.
    #[must_use]
    pub fn expressions(&self) -> usize {
        match &self.0 {
            Asked::Name(name) => usize::from(name.expression.is_some()),
            Asked::More(wanted) => wanted.patterns().filter(|pattern| pattern.expression.is_some()).count(),
        }
    }
}

impl Asked {
    fn wanted(&self) -> Wanted {
        match self {
            Self::Name(name) => Wanted { name: Some(name.clone()), ..Wanted::default() },
            Self::More(wanted) => (**wanted).clone(),
        }
    }
}

impl Wanted {
    fn holds(&self, workload: &Workload) -> bool {
        let Self { name, image, labels, runtime, project, service, namespace, pod, unit } = self;
        let is = |wanted: &Option<Pattern>, text: Option<&str>| {
            wanted.as_ref().is_none_or(|pattern| text.is_some_and(|text| pattern.matches(text)))
        };
        let kubernetes = workload.kubernetes.as_ref();
        let unit_name = (workload.kind == WorkloadKind::Unit).then_some(workload.name.as_str());
        self.may_mean(workload)
            && name.as_ref().is_none_or(|name| is_called(workload, name))
            && is(image, workload.image.as_deref())
            && labels
                .iter()
                .all(|(key, pattern)| workload.labels.get(key).is_some_and(|value| pattern.matches(value)))
            && (runtime.is_none() || *runtime == workload.runtime)
            && is(project, workload.project.as_deref())
            && is(service, workload.service.as_deref())
            && is(namespace, kubernetes.map(|place| place.namespace.as_str()))
            && is(pod, kubernetes.map(|place| place.pod.as_str()))
            && is(unit, unit_name)
    }

    /// What a user runs by himself says of itself what he likes: only who names users means it.
    fn may_mean(&self, workload: &Workload) -> bool {
        workload.of_user().is_none() || self.names_users()
    }

    fn names_users(&self) -> bool {
        [&self.name, &self.unit].into_iter().flatten().any(Pattern::names_users)
    }

    /// See [`Selector::covers`].
    fn covers(&self, other: &Self) -> bool {
        let wider = |own: &Option<Pattern>, other: &Option<Pattern>| match (own, other) {
            (None, _) => true,
            (Some(own), Some(other)) => own.covers(other),
            (Some(_), None) => false,
        };
        (self.names_users() || !other.names_users())
            && wider(&self.name, &other.name)
            && wider(&self.image, &other.image)
            && self.labels.iter().all(|(key, own)| other.labels.get(key).is_some_and(|it| own.covers(it)))
            && (self.runtime.is_none() || self.runtime == other.runtime)
            && wider(&self.project, &other.project)
            && wider(&self.service, &other.service)
            && wider(&self.namespace, &other.namespace)
            && wider(&self.pod, &other.pod)
            && wider(&self.unit, &other.unit)
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let Self { name, image, labels, runtime: _, project, service, namespace, pod, unit } = self;
        let single = [name, image, project, service, namespace, pod, unit];
        single.into_iter().flatten().chain(labels.values())
    }
}

fn is_called(workload: &Workload, name: &Pattern) -> bool {
    (workload.of_user().is_none() || name.names_users()) && workload.names().any(|own| name.matches(own))
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

    fn try_from(mut wanted: Wanted) -> Result<Self, Self::Error> {
        let name = wanted.name.take();
        let only = wanted == Wanted::default();
        match name {
            // More likely a slip than the wish for everything.
            None if only => Err("must ask for something; `name: \"*\"` selects all workloads"),
            Some(name) if only => Ok(name.into()),
            name => Ok(Self(Asked::More(Box::new(Wanted { name, ..wanted })))),
        }
    }
}

impl From<Pattern> for Selector {
    fn from(name: Pattern) -> Self {
        Self(Asked::Name(name))
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// A selector as it is written: a name, or keys.
struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Selector;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name, or keys such as `name` and `image`")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Selector, E> {
        Pattern::try_from(name.to_owned()).map(Selector::from).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Selector, A::Error> {
        let wanted = Wanted::deserialize(MapAccessDeserializer::new(map))?;
        Selector::try_from(wanted).map_err(de::Error::custom)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.wanted().serialize(serializer)
    }
}

impl Pattern {
    /// What means this text and no other, as it is written; nothing where no pattern can.
    pub(crate) fn literal(text: &str) -> Option<String> {
        let mut written = String::with_capacity(text.len());
        for character in text.chars() {
            if WILDCARDS.contains(&character) {
                written.push('\\');
            }
            written.push(character);
        }
        Self::try_from(written.clone()).ok().filter(|pattern| pattern.matches(text)).map(|_| written)
    }

    /// Whether the whole of `text` is like that.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match (&self.expression, self.text.strip_suffix('*')) {
            (Some(expression), _) => expression.is_match(text),
            (None, Some(start)) => text.starts_with(start),
            (None, None) => *self.text == *text,
        }
    }

    /// Whether what users run by themselves is meant as well: it begins as their names do, or is for everybody.
    fn names_users(&self) -> bool {
        self.text.starts_with("user-") || *self.text == *"*"
    }

    /// The only text that is like that, where there are no wildcards.
    fn exact(&self) -> Option<&str> {
        (!self.text.contains(WILDCARDS)).then_some(&*self.text)
    }

    /// Whether all that is like the other is like this. When in doubt, no.
    fn covers(&self, other: &Self) -> bool {
        // Text that has a beginning in common stays alike whatever follows.
        let beginning = || other.text.strip_suffix('*').filter(|_| other.expression.is_none());
        self == other
            || other.exact().is_some_and(|text| self.matches(text))
            || (self.expression.is_none()
                && self.text.strip_suffix('*').zip(beginning()).is_some_and(|(own, it)| it.starts_with(own)))
            || *self.text == *"*"
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > PATTERN_LIMIT {
            return Err(format!("must be a pattern of 1 to {PATTERN_LIMIT} bytes"));
        }
        // What has a name was cleaned of these.
        if text.contains(is_hostile) {
            return Err(format!("`{text}` has characters that cannot be seen or that a terminal would obey"));
        }
        let expression = if text.strip_suffix('*').unwrap_or(&text).contains(WILDCARDS) {
            let glob =
                Glob::new(&text).map_err(|error| format!("`{text}` is no pattern: {}", error.kind()))?;
            Some(Box::new(glob.compile_matcher()))
        } else {
            None
        };
        Ok(Self { text: text.into(), expression })
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text.into()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

// What is compiled follows from the text.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_with_wildcards_can_be_meant_by_itself() {
        for (text, written) in
            [("web", "web"), ("a*", r"a\*"), ("{a,b}[c]?", r"\{a,b\}\[c\]\?"), (r"a\x2d", r"a\\x2d")]
        {
            assert_eq!(Pattern::literal(text).as_deref(), Some(written));
            let pattern = Pattern::try_from(written.to_owned()).unwrap();
            assert!(pattern.matches(text) && !pattern.matches("ab") && !pattern.matches(&format!("{text}b")));
        }
        assert_eq!(Pattern::literal(""), None);
        assert_eq!(Pattern::literal("a\nb"), None);
    }
    use crate::{event::Kubernetes, sink::samples};

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
            (json!("shop/*"), true),
            (json!("shop/db"), false),
            (json!({"project": "sh*"}), true),
            (json!({"project": "shop", "service": "web"}), true),
            (json!({"project": "shop", "service": "db"}), false),
            (json!({"namespace": "*"}), false),
            (json!({"pod": "*"}), false),
            (json!({"unit": "*"}), false),
            (json!({"name": "shop/*", "runtime": "podman"}), false),
            (json!({"name": "shop/*", "runtime": "docker", "labels": {"tier": "front"}}), true),
        ] {
            assert_eq!(selector(wanted.clone()).unwrap().selects(&web), expected, "{wanted}");
        }
    }

    #[test]
    fn what_users_run_by_themselves_is_meant_by_its_whole_name_alone() {
        let container = Workload {
            name: "user-1000/shop/web".to_owned(),
            user: Some(1000),
            kubernetes: Some(Kubernetes {
                namespace: "shop".to_owned(),
                pod: "web".to_owned(),
                container: None,
            }),
            ..web()
        };
        let unit = Workload::named(WorkloadKind::Unit, "user-1000/backup.service");
        let unit = Workload { user: Some(1000), ..unit };
        for (wanted, expected) in [
            (json!("shop/web"), [false; 2]),
            (json!("shop-web-1"), [false; 2]),
            (json!("*web"), [false; 2]),
            (json!("backup.service"), [false; 2]),
            (json!({"image": "*"}), [false; 2]),
            (json!({"labels": {"tier": "front"}}), [false; 2]),
            (json!({"project": "shop", "service": "web"}), [false; 2]),
            (json!({"namespace": "shop"}), [false; 2]),
            (json!({"runtime": "docker"}), [false; 2]),
            (json!({"unit": "*.service"}), [false; 2]),
            (json!("*"), [true; 2]),
            (json!({"unit": "*"}), [false, true]),
            (json!({"unit": "user-1000/*"}), [false, true]),
            (json!("user-*"), [true; 2]),
            (json!("user-1000/shop/web"), [true, false]),
            (json!({"name": "user-*", "labels": {"tier": "front"}}), [true, false]),
        ] {
            let selector = selector(wanted.clone()).unwrap();
            assert_eq!([&container, &unit].map(|workload| selector.selects(workload)), expected, "{wanted}");
            for workload in [&container, &unit] {
                assert_eq!(selector.mismatch(workload).is_none(), selector.selects(workload), "{wanted}");
            }
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
    fn a_pod_is_meant_by_its_place_in_the_cluster_and_a_unit_by_its_name() {
        let kubernetes = Kubernetes { namespace: "shop".into(), pod: "web-1".into(), container: None };
        let pod = Workload { kubernetes: Some(kubernetes), ..web() };
        for (wanted, expected) in [
            (json!({"namespace": "shop"}), true),
            (json!({"namespace": "sh"}), false),
            (json!({"pod": "web-*"}), true),
            (json!({"namespace": "shop", "pod": "db-*"}), false),
        ] {
            assert_eq!(selector(wanted.clone()).unwrap().selects(&pod), expected, "{wanted}");
        }
        let unit = Workload::named(WorkloadKind::Unit, "nginx.service");
        let container = Workload::named(WorkloadKind::Container, "nginx.service");
        let by_unit = selector(json!({"unit": "nginx.*"})).unwrap();
        assert!(by_unit.selects(&unit) && !by_unit.selects(&container));
        assert!(selector(json!("nginx.service")).unwrap().selects(&container));
    }

    #[test]
    fn a_name_is_exact_when_nothing_else_is_asked_for_and_it_has_no_wildcards() {
        for (wanted, exact) in [
            (json!("shop/db"), Some("shop/db")),
            (json!({"name": "shop/db"}), Some("shop/db")),
            (json!("shop/*"), None),
            (json!("s?"), None),
            (json!("[s]"), None),
            (json!("{s}"), None),
            (json!("a\\*"), None),
            (json!({"name": "shop/db", "image": "*"}), None),
            (json!({"project": "shop"}), None),
        ] {
            assert_eq!(selector(wanted.clone()).unwrap().exact_name(), exact, "{wanted}");
        }
        let prefix = |wanted| selector(wanted).unwrap().name_prefix().map(str::to_owned);
        assert_eq!(prefix(json!("shop/*")).as_deref(), Some("shop/"));
        assert_eq!(prefix(json!("*")).as_deref(), Some(""));
        for wanted in [json!("shop/db"), json!("s*/*"), json!("shop/**"), json!({"project": "shop*"})] {
            assert_eq!(prefix(wanted), None);
        }
    }

    #[test]
    fn selectors_that_ask_for_the_same_are_equal_and_hash_alike() {
        let all = [json!("a*"), json!({"name": "a*"}), json!({"name": "a*", "labels": {}})];
        let set: HashSet<_> = all.into_iter().map(|wanted| selector(wanted).unwrap()).collect();
        assert_eq!(set.len(), 1);
        assert_ne!(selector(json!("a")).unwrap(), selector(json!({"unit": "a"})).unwrap());
    }

    #[test]
    fn a_selector_covers_what_asks_for_as_much_or_more() {
        for (wide, narrow, expected) in [
            (json!("*"), json!("shop/db"), true),
            (json!("*b"), json!("user-1000/db"), false),
            (json!({"image": "*"}), json!({"name": "user-*", "image": "*"}), false),
            (json!("*"), json!("user-1000/db"), true),
            (json!("shop/*"), json!("shop/db"), true),
            (json!("shop/*"), json!("shop/d*"), true),
            (json!("shop/d*"), json!("shop/*"), false),
            (json!("{shop,ci}/*"), json!("ci/db"), true),
            (json!("{shop,ci}/*"), json!("ci/*"), false),
            (json!("shop/*"), json!("{shop,ci}/*"), false),
            (json!("shop/*"), json!({"name": "shop/db", "image": "x"}), true),
            (json!({"name": "shop/db", "image": "x"}), json!("shop/db"), false),
            (json!("*"), json!({"project": "shop"}), false),
            (json!({"project": "s*"}), json!({"project": "shop", "service": "db"}), true),
            (json!({"labels": {"a": "*"}}), json!({"labels": {"a": "b", "c": "d"}}), true),
            (json!({"labels": {"a": "*", "c": "d"}}), json!({"labels": {"a": "b"}}), false),
            (json!({"runtime": "docker"}), json!({"runtime": "docker", "pod": "x"}), true),
            (json!({"runtime": "docker"}), json!({"runtime": "podman"}), false),
        ] {
            let [wide, narrow] = [wide, narrow].map(|wanted| selector(wanted).unwrap());
            assert_eq!(wide.covers(&narrow), expected, "{wide:?} {narrow:?}");
            assert!(wide.covers(&wide));
        }
    }

    #[test]
    fn only_what_plain_text_cannot_say_is_compiled() {
        let expressions = |wanted| selector(wanted).unwrap().expressions();
        assert_eq!(expressions(json!("shop/db")) + expressions(json!("shop/*")) + expressions(json!("*")), 0);
        assert_eq!(expressions(json!({"name": "a*b", "labels": {"x": "[y]"}, "pod": "z"})), 2);
    }

    #[test]
    fn a_selector_that_asks_for_nothing_or_for_what_there_is_not_is_refused() {
        for (wanted, why) in [
            (json!({}), "must ask for something"),
            (json!({"labels": {}}), "must ask for something"),
            (json!({"nmae": "a"}), "unknown field"),
            (json!(""), "pattern of 1 to 256 bytes"),
            (json!(1), "expected a name, or keys"),
            (json!([]), "expected a name, or keys"),
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

        #[test]
        fn what_is_not_compiled_means_what_it_would_mean_if_it_were(
            pattern in "[ab/*]{1,5}", text in "[ab/\\n]{0,5}",
        ) {
            let matcher = Glob::new(&pattern).unwrap().compile_matcher();
            prop_assert_eq!(Pattern::try_from(pattern).unwrap().matches(&text), matcher.is_match(&text));
        }

        #[test]
        fn a_pattern_covers_only_what_it_matches(
            wide in "[ab*]{1,3}", narrow in "[ab*]{1,3}", text in "[ab]{0,4}",
        ) {
            let [wide, narrow] = [wide, narrow].map(|text| Pattern::try_from(text).unwrap());
            prop_assert!(!wide.covers(&narrow) || !narrow.matches(&text) || wide.matches(&text));
        }
    }
}
