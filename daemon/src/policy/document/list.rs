//! Lists that end where they become too long, before they cost anything.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

/// At most `MOST` items.
#[derive(Debug)]
pub(super) struct List<T, const MOST: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for ListVisitor<T, MOST> {
    type Value = List<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = next_of(&mut items, list.len(), MOST, "items")? {
            list.push(item);
        }
        Ok(List(list))
    }
}

/// The next item, unless there are `most` already.
pub(super) fn next_of<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    items: &mut A,
    have: usize,
    most: usize,
    what: &str,
) -> Result<Option<T>, A::Error> {
    if have < most {
        return items.next_element();
    }
    match items.next_element::<de::IgnoredAny>()? {
        Some(_) => Err(de::Error::custom(format!("has more than {most} {what}"))),
        None => Ok(None),
    }
}
