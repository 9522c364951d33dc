//! A document as it is written. What can be wrong with one value, rule or entry by itself is refused here.

use std::{collections::BTreeMap, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::{ENTRIES_LIMIT, RULES_LIMIT, list::List, peers::Peers, services};
use crate::policy::model::{Direction, Services, Verdict};

/// Longest name, in bytes.
const NAME_LIMIT: usize = 63;
/// Most ports of an entry.
const PORTS_LIMIT: usize = 256;

/// A policy: who may interact with whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Policy")]
pub(super) struct Form {
    /// Its name, unique over all files.
    #[schemars(with = "Name")]
    pub(super) policy: Spanned<Name>,
    /// Whether what it forbids is denied, or only reported.
    #[serde(default)]
    pub(super) mode: Mode,
    /// Names for peers of this document.
    #[serde(default)]
    pub(super) groups: BTreeMap<Name, Peers>,
    /// Which of them decides does not depend on their order.
    #[schemars(with = "Vec<RuleKeys>")]
    pub(super) rules: List<Spanned<Rule>, RULES_LIMIT>,
}

/// What becomes of what a policy forbids.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// It passes, and is reported.
    #[default]
    Audit,
    /// It is denied.
    Enforce,
}

/// What policies, rules and groups are called.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = "^[A-Za-z0-9._-]{1,63}$"))]
pub(super) struct Name(pub(super) Arc<str>);

/// Selects workloads, and says with whom they may interact.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RuleKeys")]
pub(super) struct Rule {
    pub(super) name: Option<Spanned<Name>>,
    pub(super) direction: Direction,
    pub(super) subjects: Peers,
    pub(super) lists: [(Verdict, Vec<Spanned<Entry>>); 3],
}

/// Selects workloads, and says with whom they may interact: `to`, to whom its entries say who may send (`from`), or
/// `from`, from whom they say to whom it may be sent (`to`).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rule", extend("oneOf" = [{"required": ["to"]}, {"required": ["from"]}]))]
struct RuleKeys {
    /// What it is called in reports; else it goes by its number.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Name")]
    name: Option<Spanned<Name>>,
    /// Whom it is about, as receivers.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Peers")]
    to: Option<Peers>,
    /// Whom it is about, as senders.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Peers")]
    from: Option<Peers>,
    /// What passes.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Vec<EntryKeys>")]
    allow: Option<Entries>,
    /// What is denied, whatever allows it.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Vec<EntryKeys>")]
    deny: Option<Entries>,
    /// What passes and is reported.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Vec<EntryKeys>")]
    audit: Option<Entries>,
}

type Entries = List<Spanned<Entry>, ENTRIES_LIMIT>;

/// One item of the lists of a rule.
#[derive(Debug, Deserialize)]
#[serde(try_from = "EntryKeys")]
pub(super) struct Entry {
    /// That of rules in which it may stand.
    pub(super) direction: Direction,
    pub(super) peers: Peers,
    pub(super) services: Vec<Services>,
}

/// The other side, and over what.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Entry", extend("oneOf" = [{"required": ["to"]}, {"required": ["from"]}]))]
struct EntryKeys {
    /// Who sends; in a rule that has `to`.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Peers")]
    from: Option<Peers>,
    /// Who receives; in a rule that has `from`.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Peers")]
    to: Option<Peers>,
    /// Protocol and port of the server; everything if neither this nor `ports` is there.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "services::Written")]
    port: Option<services::Written>,
    /// Several of these.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Vec<services::Written>")]
    ports: Option<List<services::Written, PORTS_LIMIT>>,
}

/// A key that stands there needs a value: what shall have its default is left out.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > NAME_LIMIT || !name.bytes().all(fits) {
            return Err(format!(
                "must be a name of 1 to {NAME_LIMIT} letters and digits of ASCII, `.`, `_` and `-`"
            ));
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<RuleKeys> for Rule {
    type Error = &'static str;

    fn try_from(keys: RuleKeys) -> Result<Self, Self::Error> {
        let RuleKeys { name, to, from, allow, deny, audit } = keys;
        let (direction, subjects) = match (to, from) {
            (Some(to), None) => (Direction::Ingress, to),
            (None, Some(from)) => (Direction::Egress, from),
            (Some(_), Some(_)) => return Err("has both `to` and `from`: write two rules"),
            (None, None) => return Err("lacks `to` or `from`: whom it is about"),
        };
        let lists = [(Verdict::Allow, allow), (Verdict::Deny, deny), (Verdict::Audit, audit)];
        let lists = lists.map(|(verdict, list)| (verdict, list.map_or_else(Vec::new, |list| list.0)));
        Ok(Self { name, direction, subjects, lists })
    }
}

impl TryFrom<EntryKeys> for Entry {
    type Error = &'static str;

    fn try_from(keys: EntryKeys) -> Result<Self, Self::Error> {
        let (direction, peers) = match (keys.from, keys.to) {
            (Some(from), None) => (Direction::Ingress, from),
            (None, Some(to)) => (Direction::Egress, to),
            (Some(_), Some(_)) => return Err("has both `from` and `to`: one of them stands in the rule"),
            (None, None) => {
                return Err("lacks the other side: `from` in a rule with `to`, or `to` with `from`");
            }
        };
        let services = match (keys.port, keys.ports) {
            (Some(_), Some(_)) => return Err("has both `port` and `ports`: write `ports` only"),
            (None, None) => vec![Services::ALL],
            (Some(port), None) => vec![port.0],
            (None, Some(ports)) if ports.0.is_empty() => {
                return Err("has no ports: leave `ports` out if all are meant");
            }
            (None, Some(ports)) => ports.0.into_iter().map(|port| port.0).collect(),
        };
        Ok(Self { direction, peers, services })
    }
}
