//! A Compose file as it is written, as far as it is about who may interact with whom. All other keys are Compose's own
//! business: what it does not take, it does not start.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use crate::policy::import::page::Loose;

#[derive(Debug, Deserialize)]
pub(super) struct Form {
    #[serde(default)]
    pub(super) name: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) services: BTreeMap<String, Spanned<Service>>,
    #[serde(default)]
    pub(super) networks: Option<BTreeMap<String, Option<Network>>>,
    #[serde(default)]
    pub(super) include: Option<Spanned<Ignored>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Service {
    pub(super) networks: Option<Spanned<Attached>>,
    pub(super) network_mode: Option<Spanned<String>>,
    pub(super) ports: Option<Vec<Spanned<Port>>>,
    pub(super) container_name: Option<String>,
    pub(super) extends: Option<Spanned<Ignored>>,
    pub(super) profiles: Option<IgnoredAny>,
    /// What runs it is no container.
    pub(super) provider: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Network {
    pub(super) name: Option<Spanned<String>>,
    pub(super) external: Option<External>,
    pub(super) internal: Option<bool>,
    pub(super) driver: Option<String>,
    pub(super) driver_opts: Option<BTreeMap<String, Option<Setting>>>,
}

/// Whether somebody else makes a network. Old files say its name there.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum External {
    Is(bool),
    Named { name: Option<String> },
}

/// What a driver is told.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Setting {
    Is(bool),
    Text(Loose),
}

/// A published port.
#[derive(Debug)]
pub(super) enum Port {
    /// `[[ADDRESS:]PORT:]PORT[/PROTOCOL]`.
    Short(String),
    /// Key by key.
    Long(LongPort),
}

#[derive(Debug, Deserialize)]
pub(super) struct LongPort {
    pub(super) target: Loose,
    #[serde(default)]
    pub(super) protocol: Option<String>,
    #[serde(default)]
    pub(super) host_ip: Option<String>,
}

/// The networks of a service: a list, or keys with more about each.
#[derive(Debug)]
pub(super) struct Attached(pub(super) Vec<String>);

/// Something of which only its place is of interest.
#[derive(Debug)]
pub(super) struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl<'de> Deserialize<'de> for Attached {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AttachedVisitor)
    }
}

struct AttachedVisitor;

impl<'de> Visitor<'de> for AttachedVisitor {
    type Value = Attached;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of networks, or networks as keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Attached, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = items.next_element()? {
            names.push(name);
        }
        Ok(Attached(names))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attached, A::Error> {
        let mut names = Vec::new();
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            names.push(name);
        }
        Ok(Attached(names))
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

struct PortVisitor;

impl<'de> Visitor<'de> for PortVisitor {
    type Value = Port;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port, as in 8080:80, or keys such as `target`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Port, E> {
        Ok(Port::Short(text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
        Ok(Port::Short(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Port, E> {
        Ok(Port::Short(number.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Port, A::Error> {
        LongPort::deserialize(de::value::MapAccessDeserializer::new(map)).map(Port::Long)
    }
}
