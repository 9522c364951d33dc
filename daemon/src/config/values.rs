//! What single values may be: the same for the file, the command line and the environment.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// A whole number that is not less than `LEAST` and not more than `MOST`, and a power of two where that is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Whole<const LEAST: u32, const MOST: u32, const POWER_OF_TWO: bool = false>(pub(super) u32);

/// The path of a socket or a directory, from the root.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String")]
pub struct FullPath(pub(super) PathBuf);

impl<const LEAST: u32, const MOST: u32, const POWER_OF_TWO: bool> Whole<LEAST, MOST, POWER_OF_TWO> {
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    fn new(value: u32) -> Result<Self, String> {
        let fits = (LEAST..=MOST).contains(&value) && (!POWER_OF_TWO || value.is_power_of_two());
        if fits { Ok(Self(value)) } else { Err(Self::expected()) }
    }

    fn expected() -> String {
        let what = if POWER_OF_TWO { "power of two" } else { "whole number" };
        format!("must be a {what} from {LEAST} to {MOST}")
    }
}

impl FullPath {
    /// A path that is known to be one.
    pub(crate) fn of(path: &str) -> Self {
        Self(path.into())
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl<'de, const LEAST: u32, const MOST: u32, const POWER_OF_TWO: bool> Deserialize<'de>
    for Whole<LEAST, MOST, POWER_OF_TWO>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u32::deserialize(deserializer).map_err(|_| Error::custom(Self::expected()))?;
        Self::new(value).map_err(Error::custom)
    }
}

impl<const LEAST: u32, const MOST: u32, const POWER_OF_TWO: bool> FromStr
    for Whole<LEAST, MOST, POWER_OF_TWO>
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| Self::expected()).and_then(Self::new)
    }
}

impl FromStr for FullPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The longest that the kernel takes for a socket (`sun_path`).
        if Path::new(text).is_absolute() && text.len() < 108 {
            Ok(Self(text.into()))
        } else {
            Err("must be a path that begins with / and is shorter than 108 bytes".to_owned())
        }
    }
}

impl TryFrom<String> for FullPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RingBytes;

    #[test]
    fn rings_are_what_the_kernel_takes() {
        assert_eq!("4096".parse::<RingBytes>().map(Whole::get), Ok(4_096));
        assert_eq!("1073741824".parse::<RingBytes>().map(Whole::get), Ok(1 << 30));
        for bad in ["", "0", "1", "4095", "4097", "1073741825", "2147483648", "99999999999", "-1", "4k"] {
            assert!(bad.parse::<RingBytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_lies_within_its_bounds() {
        type Few = Whole<3, 5>;
        assert_eq!(("3".parse::<Few>(), "5".parse::<Few>()), (Ok(Whole(3)), Ok(Whole(5))));
        for bad in ["2", "6", "", "x", "4.0", "-4", "99999999999"] {
            assert_eq!(bad.parse::<Few>(), Err("must be a whole number from 3 to 5".to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_path_begins_at_the_root() {
        assert!("/run/docker.sock".parse::<FullPath>().is_ok());
        for bad in ["", "docker.sock", "unix:///run/docker.sock", &format!("/{}", "x".repeat(107))] {
            assert!(bad.parse::<FullPath>().is_err(), "{bad}");
        }
    }
}
