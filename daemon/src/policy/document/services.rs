//! Protocols and ports as they are written: `tcp/5432`, `udp/8000-8999`, `icmp`, `ip/47`, `any`.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::nearest,
    policy::model::{Protocol, Services},
};

/// Protocols that have ports, by their number in the IP header.
const WITH_PORTS: [(&str, u8); 4] = [("tcp", 6), ("udp", 17), ("sctp", 132), ("udplite", 136)];
/// ICMP and ICMPv6 have a word of their own.
const ICMP: [u8; 2] = [1, 58];
/// All ports, also where a protocol has none.
const ALL: (u16, u16) = Services::ALL.ports;

/// One item of `port` or `ports`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(
    rename = "Port",
    extend("pattern" = "^(any|icmp|ip/[0-9]+|(tcp|udp|sctp|udplite)(/[0-9]+(-[0-9]+)?)?)$")
)]
pub(super) struct Written(#[schemars(with = "String")] pub(super) Services);

impl TryFrom<String> for Written {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl FromStr for Services {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, ports) = match text.split_once('/') {
            Some((protocol, ports)) => (protocol, Some(ports)),
            None => (text, None),
        };
        let numbered = WITH_PORTS.iter().find(|(name, _)| *name == protocol).map(|(_, number)| *number);
        match (protocol, numbered, ports) {
            ("any", _, None) => Ok(Self::ALL),
            ("icmp", _, None) => Ok(Self { protocol: Protocol::Icmp, ports: ALL }),
            ("any" | "icmp", ..) => Err(format!("`{text}`: `{protocol}` has no ports; write `{protocol}`")),
            ("ip", _, Some(number)) => by_number(text, number),
            (_, Some(number), None) => Ok(Self { protocol: Protocol::Number(number), ports: ALL }),
            (_, Some(number), Some(ports)) => {
                let ports = range(ports).ok_or_else(|| {
                    format!("`{text}`: ports are 1 to 65535, as in {protocol}/443 or {protocol}/8000-8999")
                })?;
                Ok(Self { protocol: Protocol::Number(number), ports })
            }
            (_, None, _) => Err(unknown(text, protocol)),
        }
    }
}

fn by_number(text: &str, number: &str) -> Result<Services, String> {
    let number = digits(number).and_then(|number| u8::try_from(number).ok());
    match number {
        None => Err(format!("`{text}`: protocols have numbers from 0 to 255, as in ip/47")),
        Some(number) if ICMP.contains(&number) => Err(format!("`{text}` is written `icmp`")),
        Some(number) => Ok(Services { protocol: Protocol::Number(number), ports: ALL }),
    }
}

fn range(ports: &str) -> Option<(u16, u16)> {
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let [first, last] = [first, last].map(digits);
    let (first, last) = (first?, last?);
    (first > 0 && first <= last).then_some((first, last))
}

/// Digits and nothing else: `parse` would take `+1`.
fn digits(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn unknown(text: &str, protocol: &str) -> String {
    if range(text).is_some() {
        return format!("`{text}` lacks its protocol, as in tcp/{text}");
    }
    let known = WITH_PORTS.iter().map(|(name, _)| *name).chain(["icmp", "ip", "any"]);
    let hint = nearest(protocol, known).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
    format!("`{text}` is no protocol and port, as in tcp/5432, udp/53, icmp, ip/47 or any{hint}")
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Any => f.write_str("any"),
            Protocol::Icmp => f.write_str("icmp"),
            Protocol::Number(number) => {
                match WITH_PORTS.iter().find(|(_, known)| *known == number) {
                    Some((name, _)) => f.write_str(name)?,
                    None => write!(f, "ip/{number}")?,
                }
                match self.ports {
                    ALL => Ok(()),
                    (first, last) if first == last => write!(f, "/{first}"),
                    (first, last) => write!(f, "/{first}-{last}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn protocols_and_ports_are_read_and_shown_as_they_are_written() {
        for (text, protocol, ports) in [
            ("tcp", Protocol::Number(6), ALL),
            ("tcp/5432", Protocol::Number(6), (5_432, 5_432)),
            ("tcp/1-65535", Protocol::Number(6), (1, 65_535)),
            ("udp/8000-8999", Protocol::Number(17), (8_000, 8_999)),
            ("sctp/36412", Protocol::Number(132), (36_412, 36_412)),
            ("udplite", Protocol::Number(136), ALL),
            ("icmp", Protocol::Icmp, ALL),
            ("ip/47", Protocol::Number(47), ALL),
            ("any", Protocol::Any, ALL),
        ] {
            let services: Services = text.parse().unwrap();
            assert_eq!(services, Services { protocol, ports }, "{text}");
            assert_eq!(services.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_protocol_and_port_is_refused_with_what_to_write() {
        for (text, why) in [
            ("", "is no protocol and port"),
            ("5432", "lacks its protocol, as in tcp/5432"),
            ("80-90", "lacks its protocol, as in tcp/80-90"),
            ("TCP/80", "did you mean `tcp`?"),
            ("tpc/80", "did you mean `tcp`?"),
            ("http", "is no protocol and port"),
            ("tcp/", "ports are 1 to 65535"),
            ("tcp/0", "ports are 1 to 65535"),
            ("tcp/65536", "ports are 1 to 65535"),
            ("tcp/90-80", "ports are 1 to 65535"),
            ("tcp/-80", "ports are 1 to 65535"),
            ("tcp/+80", "ports are 1 to 65535"),
            ("tcp/80-", "ports are 1 to 65535"),
            ("tcp/http", "ports are 1 to 65535"),
            ("icmp/8", "write `icmp`"),
            ("any/80", "write `any`"),
            ("ip", "is no protocol and port"),
            ("ip/256", "from 0 to 255"),
            ("ip/1", "is written `icmp`"),
            ("ip/58", "is written `icmp`"),
        ] {
            let error = text.parse::<Services>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_taken_comes_back(text in "[a-z0-9/+-]{0,16}|.*") {
            if let Ok(services) = text.parse::<Services>() {
                prop_assert_eq!(services.to_string().parse::<Services>().unwrap(), services);
            }
        }
    }
}
