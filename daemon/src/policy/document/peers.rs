//! Who is at an end, as it is written: text, keys, or a list of these.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_saphyr::{Location, Spanned};

use super::{form::Name, list::next_of};
use crate::{
    config::{Cidr, Pattern, Selector, Wanted, looks_like_address},
    event::Runtime,
    policy::{model::Network, names::NamePattern},
};

/// The word for everybody.
pub(in crate::policy) const ANY: &str = "any";
/// Most of a list.
pub(super) const PEERS_LIMIT: usize = 1_024;
/// Most networks that are left out of one.
const EXCEPT_LIMIT: usize = 256;

/// One or more.
#[derive(Debug)]
pub(super) struct Peers {
    /// Where they begin.
    pub(super) at: Location,
    pub(super) list: Vec<Spanned<Written>>,
    /// Whether they are written as a list.
    pub(super) many: bool,
}

/// One.
#[derive(Debug)]
pub(super) enum Written {
    Any,
    Workload(Selector),
    Group(Name),
    Network(Network),
    Dns(NamePattern),
}

/// All keys that one can have: those of a selector, and those that stand for themselves.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Keys {
    name: Option<Pattern>,
    image: Option<Pattern>,
    labels: BTreeMap<String, Pattern>,
    runtime: Option<Runtime>,
    project: Option<Pattern>,
    service: Option<Pattern>,
    namespace: Option<Pattern>,
    pod: Option<Pattern>,
    unit: Option<Pattern>,
    group: Option<Name>,
    cidr: Option<Cidr>,
    except: Vec<Cidr>,
    dns: Option<NamePattern>,
}

impl TryFrom<Keys> for Written {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let Keys { name, image, labels, runtime, project, service, namespace, pod, unit, .. } = keys;
        let wanted = Wanted { name, image, labels, runtime, project, service, namespace, pod, unit };
        let alone = |it| format!("{it}: write a list to name several peers");
        match (keys.group, keys.cidr, keys.dns) {
            (None, None, _) if !keys.except.is_empty() => Err("`except` belongs to a `cidr`".to_owned()),
            (None, None, None) => Ok(Self::Workload(wanted.try_into()?)),
            _ if wanted != Wanted::default() => Err(alone("`group`, `cidr` and `dns` stand alone")),
            (Some(group), None, None) if keys.except.is_empty() => Ok(Self::Group(group)),
            (Some(_), _, _) => Err(alone("`group` stands alone")),
            (None, Some(cidr), None) => network(cidr, &keys.except).map(Self::Network),
            (None, None, Some(pattern)) => Ok(Self::Dns(pattern)),
            (None, Some(_), Some(_)) => Err(alone("`dns` stands alone")),
        }
    }
}

fn network(cidr: Cidr, except: &[Cidr]) -> Result<Network, String> {
    let cidr = cidr.network();
    if except.len() > EXCEPT_LIMIT {
        return Err(format!("`except` has {} networks, {EXCEPT_LIMIT} at most", except.len()));
    }
    let except: Vec<IpNet> = except.iter().map(|network| network.network()).collect();
    for network in &except {
        if !cidr.contains(network) {
            return Err(format!("{network} in `except` does not lie in {cidr}"));
        }
        if *network == cidr {
            return Err(format!("{network} in `except` leaves nothing of it"));
        }
    }
    Ok(Network { cidr, except })
}

impl<'de> Deserialize<'de> for Peers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced: at, .. } = Spanned::<OneOrMany>::deserialize(deserializer)?;
        Ok(match value {
            OneOrMany::One(one) => Self { at, list: vec![Spanned::new(one, at, at)], many: false },
            OneOrMany::Many(list) => Self { at, list, many: true },
        })
    }
}

enum OneOrMany {
    One(Written),
    Many(Vec<Spanned<Written>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PeerVisitor { one: Self::One, many: Some(Self::Many) })
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PeerVisitor { one: std::convert::identity, many: None })
    }
}

/// Reads one, or a list where there may be one.
struct PeerVisitor<T> {
    one: fn(Written) -> T,
    many: Option<Many<T>>,
}

type Many<T> = fn(Vec<Spanned<Written>>) -> T;

impl<'de, T> Visitor<'de> for PeerVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name, or keys such as `name`, `group` and `cidr`")?;
        if self.many.is_some() { f.write_str(", or a list of these") } else { Ok(()) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        if text == ANY {
            return Ok((self.one)(Written::Any));
        }
        // A name that is an address would select nobody.
        if text.parse::<Cidr>().is_ok() {
            return Err(E::custom(format!("`{text}` is a network: write `{{cidr: \"{text}\"}}`")));
        }
        if looks_like_address(text) {
            return Err(E::custom(format!(
                "`{text}` is no name: a network is written as `{{cidr: 192.0.2.0/24}}`"
            )));
        }
        let name = Pattern::try_from(text.to_owned()).map_err(E::custom)?;
        Ok((self.one)(Written::Workload(name.into())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let written = Keys::deserialize(MapAccessDeserializer::new(map))?.try_into();
        written.map(self.one).map_err(de::Error::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        let Some(many) = self.many else {
            return Err(de::Error::custom("must not be a list: lists hold no lists"));
        };
        let mut list = Vec::new();
        while let Some(item) = next_of(&mut items, list.len(), PEERS_LIMIT, "peers")? {
            list.push(item);
        }
        if list.is_empty() {
            return Err(de::Error::custom("must not be empty; `any` is everybody"));
        }
        Ok(many(list))
    }

    // YAML takes some of what stands without quotes for more than text.
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        Err(needs_quotes(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        Err(needs_quotes(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        Err(needs_quotes(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        Err(needs_quotes(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<T, E> {
        Err(E::custom("lacks a value; `any` is everybody"))
    }
}

fn needs_quotes<E: de::Error>(value: impl fmt::Display) -> E {
    E::custom(format!("`{value}` is no text: a name like that needs quotes"))
}

impl JsonSchema for Peers {
    fn schema_name() -> Cow<'static, str> {
        "Peers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Written>();
        json_schema!({
            "anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": PEERS_LIMIT}]
        })
    }
}

impl JsonSchema for Written {
    fn schema_name() -> Cow<'static, str> {
        "Peer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"description": "`any` is everybody; else a pattern of names", "type": "string", "minLength": 1},
                generator.subschema_for::<Wanted>(),
                {
                    "description": "A group of this document",
                    "type": "object",
                    "properties": {"group": generator.subschema_for::<Name>()},
                    "required": ["group"],
                    "additionalProperties": false,
                },
                {
                    "description": "Peers outside, by address",
                    "type": "object",
                    "properties": {
                        "cidr": {"type": "string"},
                        "except": {"type": "array", "items": {"type": "string"}, "maxItems": EXCEPT_LIMIT},
                    },
                    "required": ["cidr"],
                    "additionalProperties": false,
                },
                {
                    "description": "Peers outside, by the DNS name under which the sender looked their address up; only \
                        where something is allowed to be sent to them",
                    "type": "object",
                    "properties": {"dns": {"type": "string", "pattern": r"^(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$"}},
                    "required": ["dns"],
                    "additionalProperties": false,
                },
            ]
        })
    }
}
