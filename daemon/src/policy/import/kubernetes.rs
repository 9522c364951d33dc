//! Objects of Kubernetes as they are written to files: one for each document, or lists of them. Which of them are a
//! `NetworkPolicy` is found out first, since only these are looked into.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::{
    Findings, Options,
    network_policy::{Object, Reader},
    page::Page,
};
use crate::{config::Problem, policy::write::Document};

/// Of which version a policy is.
const VERSION: &str = "networking.k8s.io/v1";
const KIND: &str = "NetworkPolicy";
const KIND_OF_LISTS: &str = "NetworkPolicyList";
/// What `kubectl get -o yaml` makes of several objects.
const MIXED: &str = "List";

/// What an object is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    api_version: String,
    kind: String,
    metadata: Metadata,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
struct Heads {
    items: Vec<Spanned<Head>>,
}

impl Head {
    fn is(&self, kind: &str) -> bool {
        self.kind == kind && self.api_version == VERSION
    }
}

/// Reads a document that has a `kind`.
pub(super) fn read(
    page: &Page<'_>,
    options: &Options,
    documents: &mut Vec<Document>,
    findings: &mut Findings,
) -> Result<(), Problem> {
    let head: Spanned<Head> = page.parse()?;
    let skip = |head: &Spanned<Head>, findings: &mut Findings| {
        let Head { api_version, kind, metadata: Metadata { name } } = &head.value;
        findings.note(format!("{}: {kind} {name} ({api_version}) is not imported", page.place(head)));
    };
    let mut translate = |object: &Spanned<Object>, key: &str, findings: &mut Findings| {
        let Some(document) = Reader::new(page, options, key, findings).document(object) else { return };
        let before = documents.len();
        documents.retain(|known| known.name != document.name);
        if documents.len() < before {
            let (place, name) = (page.place(object), &document.name);
            findings.note(format!("{place}: {name} takes the place of the one before it, as in Kubernetes"));
        }
        documents.push(document);
    };
    if head.value.is(KIND) {
        translate(&page.parse()?, "", findings);
    } else if head.value.is(KIND_OF_LISTS) || head.value.kind == MIXED {
        let heads: Heads = page.parse()?;
        let wanted = |item: &Head| {
            item.is(KIND)
                || (head.value.is(KIND_OF_LISTS) && item.kind.is_empty() && item.api_version.is_empty())
        };
        let wanted: Vec<_> = heads.items.iter().map(|item| wanted(&item.value)).collect();
        let others = heads.items.iter().zip(&wanted).filter(|(_, wanted)| !**wanted);
        others.for_each(|(item, _)| skip(item, findings));
        for (number, object) in page.parse_seed(List(&wanted))? {
            translate(&object, &format!("items[{number}]."), findings);
        }
    } else {
        skip(&head, findings);
    }
    Ok(())
}

/// Objects, and which item of the list each is.
type Numbered = Vec<(usize, Spanned<Object>)>;

/// A list of which some items are wanted.
struct List<'a>(&'a [bool]);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = Numbered;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Numbered, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = Numbered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Numbered, A::Error> {
        let mut objects = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                objects = map.next_value_seed(Items(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(objects)
    }
}

/// Its items.
struct Items<'a>(&'a [bool]);

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = Numbered;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Numbered, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Numbered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Numbered, A::Error> {
        let mut objects = Vec::new();
        for (number, wanted) in self.0.iter().enumerate() {
            if *wanted {
                objects.extend(items.next_element()?.map(|object| (number, object)));
            } else {
                items.next_element::<IgnoredAny>()?;
            }
        }
        // The end, which some readers insist on being asked for.
        items.next_element::<IgnoredAny>()?;
        Ok(objects)
    }
}
